"""Train a judge and write its two files: how those in the package were made.

    python -m latentbench.analysis.train_judge mnist --out DIR

A name other than `mnist` is whatever `latentbench.data.load` understands.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from latentbench.analysis.judge import train_judge, write_judge
from latentbench.data.loading import load


def main() -> None:
    """Train, write, and print the card."""
    parser = argparse.ArgumentParser(description="Train a judge and write its files.")
    parser.add_argument("data", help="what latentbench.data.load understands, such as mnist")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the two files")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = load(arguments.data)
    judge = train_judge(data, seed=arguments.seed, progress=_print_hundreds)
    card = write_judge(judge, arguments.out, data.name, n=len(data.test))
    sys.stdout.write(f"{card}\n{card.read_text(encoding='utf-8')}")


def _print_hundreds(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        sys.stderr.write(f"step {done} of {total}\n")


if __name__ == "__main__":
    main()
