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
from latentbench.bench.tables import Row
from latentbench.data.errors import LatentbenchError

SUITE, LIKELIHOOD_SUITE = "mnist", "likelihood"
SPEED = "speed"
"""The folder of results/ where pytest-benchmark's records of `bench/speed` lie."""


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


def blocks(store: Store) -> dict[str, str]:
    """Every generated block, from the latest runs in the store."""
    run = read(store.find(SUITE))
    rows = tables.rows(run.last_records)
    return {
        "likelihood": likelihood(read(store.find(LIKELIHOOD_SUITE)), store),
        "speed": speed(store.root / SPEED),
        "table": tables.as_markdown(rows, headline=True),
        "statements": statements(rows),
        "provenance": provenance(run, store),
    }


def statements(rows: Sequence[Row]) -> str:
    """What the essay says and what the run measured, a line each, with the verdict that follows from it."""
    by_label = {row.label: row for row in rows}

    def value(label: str, name: str) -> float:
        return by_label[label].cells[name].value or 0.0

    def show(label: str, name: str) -> str:
        return tables.format_cell(by_label[label].cells[name], METRICS[name])

    def line(statement: str, holds: bool, evidence: str) -> str:
        return f"- **{statement}** {'Supported' if holds else 'Not supported by this run'}: {evidence}."

    betas = [f"vae-16 β={beta}" for beta in ("0.02", "0.25", "1", "4")]
    low, high = betas[:2]
    return "\n".join(
        [
            line(
                "16 numbers are enough.",
                value("ae-16", "recognisable") > value("ae-16", "recognisable_originals") - 0.02,
                f"a frozen classifier reads {show('ae-16', 'recognisable')} of the digits rebuilt from 16 "
                f"numbers, and {show('ae-16', 'recognisable_originals')} of the originals",
            ),
            line(
                "The KL term trades reconstruction for a space one can sample.",
                value(low, "mse") < value(high, "mse")
                and value(low, "frechet_prior") > value(high, "frechet_prior"),
                "at 16 dimensions, "
                + "; ".join(
                    f"{label.split()[1]}: MSE {show(label, 'mse')}, Fréchet distance of prior samples "
                    f"{show(label, 'frechet_prior')}"
                    for label in betas
                )
                + f". The plain AE's samples of the same prior are at {show('ae-16', 'frechet_prior')}; "
                "too much KL costs both",
            ),
            line(
                "A plain latent space has more gaps.",
                value("ae-2", "dead_zone_moment") > value("vae-2 β=1", "dead_zone_moment"),
                f"at 2 dimensions the dead-zone mass is {show('ae-2', 'dead_zone_moment')} for the AE and "
                f"{show('vae-2 β=1', 'dead_zone_moment')} for the VAE",
            ),
            line(
                "A code keeps what words name.",
                value("ae-16", "zero_shot_top1") > 10 / 90,
                "zero-shot accuracy on caption combinations never trained on, among all 90 (chance 0.011), "
                f"is {show('ae-16', 'zero_shot_top1')} from frozen AE-16 codes and "
                f"{show('ae-2', 'zero_shot_top1')} from AE-2",
            ),
        ]
    )


def likelihood(run: Run, store: Store) -> str:
    """What suite `likelihood` reached, in a sentence."""
    (row,) = tables.rows(run.last_records)
    name = "log_likelihood_bernoulli"
    reached = tables.format_cell(row.cells[name], METRICS[name])
    epochs = run.last_records[0].recipe.epochs
    return (
        f"A VAE of 2×200 tanh units and 50 latent dimensions, trained on binarised MNIST for {epochs} "
        f"epochs, gives a test image {reached} nats by 5,000 importance samples; −86.76 is published, after "
        f"3,280 epochs (Burda et al. 2016). `latentbench run {LIKELIHOOD_SUITE}`. {provenance(run, store)}"
    )


def speed(folder: Path) -> str:
    """A table of every side-by-side timing on record, the ratio being rival's median over ours."""
    lines = ["| work | ours | rival | ratio | reached |", "| --- | ---: | ---: | ---: | --- |"]
    hardware = set()
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        cpu = content["machine_info"]["cpu"]
        hardware.add(f"{cpu['count']} cores of {cpu['brand_raw']}")
        for case in content["benchmarks"]:
            info = case["extra_info"]
            if "rival" not in info:
                continue
            lines.append(
                f"| {info['what']} | {case['stats']['median']:.2f} s | {info['rival']}: "
                f"{info['rival_seconds']:.2f} s | {info['ratio']:.1f}× | {info['reached']} |"
            )
    return (
        "\n".join(lines) + f"\n\nMedians, in one process and turn by turn, on {'; '.join(sorted(hardware))}."
    )


def provenance(run: Run, store: Store) -> str:
    """Where the numbers come from: n, hardware, code, time."""
    record = run.last_records[0]
    where = json.loads(
        (store.root / "environments" / f"{record.environment}.json").read_text(encoding="utf-8")
    )
    hardware = where["gpu"] or f"{where['cpu_cores']} cores of {where['cpu']}"
    seconds = [s for r in run.last_records for s in (r.seconds.train, r.seconds.evaluate) if s is not None]
    seeds, cases = len({r.seed for r in run.last_records}), len(run.last_records)
    return (
        f"Run `{run.stem}`: {record.data.train:,} train and {record.data.test:,} test images, "
        f"{seeds} seed{'s' if seeds > 1 else ''}, {cases} case{'s' if cases > 1 else ''} in "
        f"{sum(seconds):.0f} s of training and measuring on {hardware}, torch {where['packages']['torch']}; "
        f"{'± is the 95 % interval over seeds' if seeds > 1 else '± is 1.96 standard errors'}."
    )


def main() -> None:
    """Rewrite README.md in the current folder from `results/`."""
    path, store = Path("README.md"), Store(Path("results"))
    path.write_text(update(path.read_text(encoding="utf-8"), blocks(store)), encoding="utf-8")
    sys.stdout.write(f"README.md written from {store.root}\n")


if __name__ == "__main__":
    main()
