"""The numbers in README.md, written from the committed records: `python -m latentbench.bench.readme`.

A block between `<!-- begin NAME -->` and `<!-- end NAME -->` belongs to this module; everything else in
the file is left as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from latentbench.analysis.catalogue import METRICS
from latentbench.bench import tables
from latentbench.bench.store import Run, Store, read
from latentbench.bench.tables import Cell, Row
from latentbench.data.errors import LatentbenchError

SUITE = "mnist"


def update(text: str, blocks: dict[str, str]) -> str:
    """The text with every block replaced; raises LatentbenchError for a block the text has no place for."""
    for name, content in blocks.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise LatentbenchError(f"README.md has no place for the block {name!r}: {begin.strip()} … {end}")
        text = f"{before}{begin}{content.strip()}\n{end}{after}"
    return text


def blocks(run: Run, store: Store) -> dict[str, str]:
    """Every generated block from one run."""
    rows = tables.rows(run.last_records)
    return {
        "table": tables.as_markdown(rows, headline=True),
        "statements": statements(rows),
        "provenance": provenance(run, store),
    }


def statements(rows: Sequence[Row]) -> str:
    """What the essay says, and what the run measured, a line each."""
    by_label = {row.label: row for row in rows}

    def show(label: str, name: str) -> str:
        return tables.format_cell(by_label[label].cells.get(name, Cell(None, None, 0)), METRICS[name])

    betas = [f"vae-16 β={beta}" for beta in ("0.25", "1", "4")]
    lines = [
        f"- **16 numbers are enough.** A frozen classifier reads {show('ae-16', 'recognisable')} of the "
        f"digits rebuilt from 16 numbers, and {show('ae-16', 'recognisable_originals')} of the originals.",
        "- **The KL term trades reconstruction for a space one can sample.** At 16 dimensions, "
        + "; ".join(
            f"{label.split()[1]}: MSE {show(label, 'mse')}, Fréchet distance of prior samples "
            f"{show(label, 'frechet_prior')}"
            for label in betas
        )
        + f". The plain AE's prior samples are at {show('ae-16', 'frechet_prior')}.",
        f"- **A plain latent space has more gaps.** Dead-zone mass {show('ae-2', 'dead_zone_moment')} "
        f"for the AE at 2 dimensions, {show('vae-2 β=1', 'dead_zone_moment')} for the VAE.",
        f"- **Codes carry what words name.** Zero-shot accuracy on caption combinations never trained on, "
        f"among all 90 (chance 0.011): {show('ae-16', 'zero_shot_top1')} from frozen AE-16 codes, "
        f"{show('ae-2', 'zero_shot_top1')} from AE-2.",
    ]
    return "\n".join(lines)


def provenance(run: Run, store: Store) -> str:
    """Where the numbers come from: n, hardware, code, time."""
    record = run.last_records[0]
    where = json.loads(
        (store.root / "environments" / f"{record.environment}.json").read_text(encoding="utf-8")
    )
    hardware = where["gpu"] or f"{where['cpu_cores']} cores of {where['cpu']}"
    seconds = [s for r in run.last_records for s in (r.seconds.train, r.seconds.evaluate) if s is not None]
    seeds = len({r.seed for r in run.last_records})
    return (
        f"Run `{run.stem}`: {record.data.train:,} train and {record.data.test:,} test images, "
        f"{seeds} seed{'s' if seeds > 1 else ''}, {len(run.last_records)} cases in {sum(seconds):.0f} s of "
        f"training and measuring on {hardware}, torch {where['packages']['torch']}; "
        f"{'± is the 95 % interval over seeds' if seeds > 1 else '± is 1.96 standard errors'}."
    )


def main() -> None:
    """Rewrite README.md in the current folder from `results/`."""
    path, store = Path("README.md"), Store(Path("results"))
    run = read(store.find(SUITE))
    path.write_text(update(path.read_text(encoding="utf-8"), blocks(run, store)), encoding="utf-8")
    sys.stdout.write(f"README.md written from {run.path}\n")


if __name__ == "__main__":
    main()
