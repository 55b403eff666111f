"""Writes the numbers in README.md and docs/ from the reference store.

    python -m latentbench.bench.maintain.readme

A block between `<!-- begin NAME -->` and `<!-- end NAME -->` belongs to this module; everything else in
a file is left as it is.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.predictors import predictors
from latentbench.analysis.stored.equal_flops import BUDGETS, metric_at
from latentbench.bench.present import tables
from latentbench.bench.present.claims.checks import Finding, findings, other_records
from latentbench.bench.present.claims.statements import OPTIONAL_CLAIMS, UNTRAINED
from latentbench.bench.present.rows import TableRow, decisive_values, repeated, rows
from latentbench.bench.store.run import Run, read
from latentbench.bench.store.store import Store
from latentbench.bench.text import markdown

PLACES = {
    "README.md": ("headline", "provenance"),
    "docs/claims.md": ("statements", "provenance", "generators"),
    "docs/ci.md": ("sessions",),
    "docs/codecs.md": ("bits", "codecs"),
    "docs/generation.md": (
        "generation",
        "predictors",
        "equal cost",
        "equal cost of photographs",
        "generators",
    ),
    "docs/machines.md": ("plan",),
    "docs/speed.md": ("speed",),
    "docs/suites.md": ("table", "provenance", "likelihood"),
    "docs/zero_shot.md": ("embedding bits",),
}
"""The blocks of each file."""
HEADLINE_MODELS = (
    *("pixels-784", "random_projection-32", "pca-16"),
    *("ae-2", "ae-16", "vae-2 β=1", "vae-16 β=1", "clip-32"),
)
HEADLINE_METRICS = (
    "mse",
    "recognisable",
    "kl",
    "frechet_prior",
    "frechet_moment",
    "dead_zone_moment",
    "zero_shot_top1",
)
CODEC_METRICS = (
    "bits_per_pixel",
    "psnr",
    "ms_ssim",
    "compression",
    "encode_megapixels_per_second",
    "decode_megapixels_per_second",
)
BITS_METRICS = ("psnr", "bits_enough", "bits_per_value", "bits_per_pixel", "step_enough")
EMBEDDING_METRICS = (
    "zero_shot_top1",
    "native_zero_shot_top1",
    "embedding_bits_enough",
    "embedding_int8_top1",
    "embedding_binary_top1",
    "hard_negatives",
)
GENERATION_METRICS = (
    "mse",
    "frechet_prior",
    "frechet_moment",
    "frechet_gmm10",
    "frechet_flow",
    "frechet_posterior",
    "flow_gap",
)
SHOWN_PREDICTORS = 12
SUITE, LIKELIHOOD_SUITE = "mnist", "likelihood"
CODECS_SUITE, BITS_SUITE, EMBEDDING_SUITE = "codecs", "bits", "embedding-bits"
GENERATION_SUITE = "latent-generation"
EQUAL_COST_SUITES = ("equal-flops", "equal-flops-fashion", "equal-flops-photos")
PLANNED_FAMILIES, PLANNED_CASES, PLANNED_WORKERS = ("pca", "ae", "vae", "clip"), 1000, 64
SPEED = "speed"
"""The folder of the store where pytest-benchmark's records of `tests/speed` are."""


def blocks(store: Store) -> dict[str, str]:
    """Return every generated block, from the latest runs in the store."""
    run = read(store.find(SUITE))
    table = rows(run.last_records)
    generated = read(store.find(GENERATION_SUITE))
    digits, garments, photographs = (read(store.find(suite)) for suite in EQUAL_COST_SUITES)
    return {
        "generation": some_metrics(generated, store, GENERATION_METRICS),
        "predictors": flow_predictors(generated),
        "equal cost": some_metrics(digits, store, ["mse", *map(metric_at, BUDGETS)]),
        "equal cost of photographs": some_metrics(
            photographs, store, ["mse", *(metric_at(budget, UNTRAINED) for budget in BUDGETS)]
        ),
        "generators": generators(digits, garments, photographs, generated),
        "bits": some_metrics(read(store.find(BITS_SUITE)), store, BITS_METRICS),
        "codecs": some_metrics(read(store.find(CODECS_SUITE)), store, CODEC_METRICS),
        "embedding bits": some_metrics(read(store.find(EMBEDDING_SUITE)), store, EMBEDDING_METRICS),
        "likelihood": likelihood(read(store.find(LIKELIHOOD_SUITE)), store),
        "speed": speed(store.root / SPEED),
        "headline": headline(table),
        "plan": plan(run, store),
        "sessions": sessions(store.root / "study" / "throughput.json"),
        "table": tables.as_markdown(table, headline=True),
        "statements": statements(findings(run.last_records, other_records(store))),
        "provenance": provenance(run, store),
    }


def headline(table: Sequence[TableRow]) -> str:
    """Return the README's table: a few models by a few metrics."""
    return tables.as_markdown(_only([row for row in table if row.label in HEADLINE_MODELS], HEADLINE_METRICS))


def some_metrics(run: Run, store: Store, metrics: Sequence[str]) -> str:
    """Return the table of a run with a few metrics, and its origin."""
    return f"{tables.as_markdown(_only(rows(run.last_records), metrics))}\n{provenance(run, store)}"


def flow_predictors(run: Run) -> str:
    """Return the metrics that rank the models most like a learned generator does."""
    found = predictors(decisive_values(rows(run.last_records)))
    cells = [
        [
            f"`{each.metric.name}`",
            f"{each.correlation.value:+.2f}",
            f"{each.correlation.low:+.2f} to {each.correlation.high:+.2f}",
            str(each.correlation.n),
            each.verdict,
        ]
        for each in found[:SHOWN_PREDICTORS]
    ]
    table = markdown.table(["metric", "ρ", "95 % interval", "models", "next to the best"], cells, "lrrrl")
    same = sum(each.verdict == "not distinguishable" for each in found)
    return f"{table}\n\nOf {len(found)} metrics, {same} are not distinguishable from the best."


def _only(table: Sequence[TableRow], metrics: Sequence[str]) -> list[TableRow]:
    return [
        replace(row, cells={name: row.cells[name] for name in metrics if name in row.cells}) for row in table
    ]


def sessions(study: Path) -> str:
    """Return the rates of the throughput gate for equal and for slower code, with the number of sessions."""
    content = json.loads(study.read_text(encoding="utf-8"))
    kinds = Counter(session["kind"] for session in content)
    raised = Counter(session["kind"] for session in content if "regressed" in session["verdicts"].values())
    counted = "; ".join(f"{kind}: {raised[kind]} of {n} reported a regression" for kind, n in kinds.items())
    few = " One session of each kind shows that it works, not how often it is wrong."
    return f"Sessions of this gate so far: {counted}.{few if max(kinds.values()) == 1 else ''}"


def generators(digits: Run, garments: Run, photographs: Run, generated: Run) -> str:
    """Return the verdicts of the claims about learned generators, from runs at equal cost and without."""
    found = [
        *findings(digits.last_records, garments.last_records),
        *findings(photographs.last_records),
        *findings(generated.last_records),
    ]
    return statements([each for each in found if each.claim in OPTIONAL_CLAIMS])


def statements(found: Sequence[Finding]) -> str:
    """Return statements, the measurements and the verdicts, with a column for each other data set."""
    data = list(dict.fromkeys(name for each in found for name in each.other_data))
    cells = [
        [
            each.claim.statement,
            each.claim.effect,
            each.outcome.shown,
            each.outcome.n,
            *(each.other_data[name].shown if name in each.other_data else "–" for name in data),
            f"**{each.headline}**" + (f" ({markdown.text(each.reason)})" if each.reason else ""),
        ]
        for each in found
    ]
    heads = ["statement", "measured", "effect [95 %]", "n", *(f"with {name}" for name in data), "verdict"]
    return markdown.table(heads, cells, align=f"llrl{'r' * len(data)}l")


def likelihood(run: Run, store: Store) -> str:
    """Return the result of suite `likelihood` in a sentence."""
    table = rows(run.last_records)
    (row,) = table
    name = "log_likelihood_bernoulli"
    reached = tables.format_cell(row.cells[name], METRICS[name], repeated(table))
    epochs = run.last_records[0].recipe.epochs
    return (
        f"A VAE of 2×200 tanh units and 50 latent dimensions, trained on binarised MNIST for {epochs} "
        f"epochs, gives a test image {reached} nats by 5,000 importance samples; −86.76 is published, after "
        f"3,280 epochs (Burda et al. 2016). `latentbench run {LIKELIHOOD_SUITE}`. {provenance(run, store)}"
    )


def speed(folder: Path) -> str:
    """Return a table of every side-by-side timing on record, the ratio being rival's median over ours."""
    cells, hardware = [], []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        machine = content["machine_info"]
        cores = f"{machine['cpu']['count']} cores of {machine['cpu']['brand_raw']}"
        hardware.append(f"{machine['gpu']} with {cores}" if "gpu" in machine else cores)
        for case in content["benchmarks"]:
            info = case["extra_info"]
            if "rival" not in info:
                continue
            ours, theirs = case["stats"]["median"], info["rival_seconds"]
            rival = f"{info['rival']}: {theirs:.3g} s"
            cells.append([info["what"], f"{ours:.3g} s", rival, f"{info['ratio']:.1f}×", info["reached"]])
    table = markdown.table(["work", "ours", "rival", "ratio", "reached"], cells, align="lrrrl")
    machines = " and on ".join(dict.fromkeys(hardware))
    return f"{table}\n\nMedians of one session each on {machines}."


def provenance(run: Run, store: Store) -> str:
    """Return the origin of the numbers: n, hardware, code, time."""
    record = run.last_records[0]
    where = json.loads(
        (store.root / "environments" / f"{record.environment}.json").read_text(encoding="utf-8")
    )
    hardware = where["gpu"] or f"{where['cpu_cores']} cores of {where['cpu']}"
    seconds = [s for r in run.last_records for s in (r.seconds.train, r.seconds.evaluate) if s is not None]
    seeds, cases = len({r.seed for r in run.last_records}), len(run.last_records)
    return (
        f"Run `{run.stem}`: {record.data.train:,} train and {record.data.test:,} test images, "
        f"{seeds} seed{'s' if seeds > 1 else ''}, {cases} case{'s' if cases > 1 else ''}, in all "
        f"{sum(seconds):.0f} s of training and measuring on {hardware}, torch {where['packages']['torch']}."
    )


def plan(run: Run, store: Store) -> str:
    """Return the wall time of a large grid on many workers, by the mean times of a case of each family."""
    cells = []
    rounds = math.ceil(PLANNED_CASES / PLANNED_WORKERS)
    for family in PLANNED_FAMILIES:
        times = [record.seconds for record in run.last_records if record.model.family == family]
        train, measure = (fmean(getattr(each, step) or 0 for each in times) for step in ("train", "evaluate"))
        wall = f"{rounds} rounds of {train + measure:.0f} s: {rounds * (train + measure) / 60:.0f} min"
        cells.append([family, str(len(times)), f"{train:.0f} s", f"{measure:.0f} s", wall])
    head = [
        "family",
        "cases",
        "training",
        "measuring",
        f"{PLANNED_CASES:,} cases on {PLANNED_WORKERS} workers",
    ]
    return f"{markdown.table(head, cells, 'lr')}\n\n{provenance(run, store)}"


def main() -> None:
    """Rewrite the files in the current folder from the reference store."""
    made = blocks(Store(Path("results/reference")))
    for name, wanted in PLACES.items():
        path = Path(name)
        text = path.read_text(encoding="utf-8")
        text = markdown.with_blocks(text, {block: made[block] for block in wanted}, name)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path} written\n")


if __name__ == "__main__":
    main()
