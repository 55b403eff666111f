"""Train a judge and write its two files; the judges in the package were made by these commands.

    python -m latentbench.analysis.features.train_judge mnist --shift 2 --seed SEED --out DIR
    python -m latentbench.analysis.features.train_judge fashion-mnist --epochs 14 --seed SEED --out DIR

with seeds 0, 1 and 2. About two minutes of one core each. The weights' last digits depend on the machine and
the torch version, so a judge that is trained again has another hash: numbers from the two are not comparable.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from latentbench.analysis.features.judge import JudgeRecipe, train_judge
from latentbench.analysis.features.stored_judges import write_judge
from latentbench.data.loading import load


def main() -> None:
    """Train, write, and print the card."""
    parser = argparse.ArgumentParser(description="Train a judge and write its files.")
    parser.add_argument("data", help="a data set, as latentbench.data.load takes it, such as mnist")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the two files")
    parser.add_argument("--epochs", type=int, default=JudgeRecipe().epochs)
    parser.add_argument("--shift", type=int, default=JudgeRecipe().shift, help="largest shift, pixels")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = load(arguments.data)
    recipe = JudgeRecipe(epochs=arguments.epochs, shift=arguments.shift)
    judge = train_judge(data, recipe=recipe, seed=arguments.seed, progress=_print_hundreds)
    card = write_judge(judge, arguments.out, f"{data.name}-{arguments.seed}", n=len(data.test))
    sys.stdout.write(f"{card}\n{card.read_text(encoding='utf-8')}")


def _print_hundreds(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        sys.stderr.write(f"step {done} of {total}\n")


if __name__ == "__main__":
    main()
