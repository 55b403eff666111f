"""Measures Fréchet distances with two disjoint ensembles of judges: do they agree within what each states?

    python -m latentbench.bench.studies.judge_ensembles docs/metrics.md \\
        --run results/reference/runs/mnist/*.jsonl

divides the judges of a run, whose single readings are in its records, in every way into two ensembles. It
takes seconds.

    python -m latentbench.bench.studies.judge_ensembles docs/metrics.md --run ... --judges DIR

also compares the judges of suite `mnist` with as many others of the same recipe, trained from the seeds that
follow and kept in DIR. Every model of the suite that decodes is trained, or taken from the cache, and its
samples are seen by all judges: about 40 minutes of one core, a third of it for the judges.

In both the two ensembles see the same images, so only the judges differ.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from latentbench import data as datasets
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.ensemble import error_of_images, over_judges
from latentbench.analysis.core.metric import Metric
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.features.judge import Judge, train_judge
from latentbench.analysis.features.stored_judges import find_cards, load_judges, read_judge, write_judge
from latentbench.analysis.generation.sample_bank import SampleBank, real_images
from latentbench.analysis.generation.sample_metrics import OF_SAMPLES
from latentbench.analysis.generation.sample_quality import frechet, why_unusable
from latentbench.analysis.statistics.intervals import NORMAL_95
from latentbench.analysis.stored.samplers import SAMPLERS
from latentbench.bench.run import suite as suites
from latentbench.bench.store.records.record import Record
from latentbench.bench.store.run import read
from latentbench.bench.text import markdown
from latentbench.data.images import ImageData
from latentbench.data.text import numbers
from latentbench.models.protocols import Autoencoder
from latentbench.models.seeds import derive
from latentbench.models.zoo import Training, train_or_load

SUITE, BLOCK = "mnist", "judge ensembles"
COMMAND = "python -m latentbench.bench.studies.judge_ensembles"
FRECHET = {OF_SAMPLES[sampler]["frechet"].name: sampler for sampler in SAMPLERS}


@dataclass(frozen=True)
class Line:
    """A Fréchet distance of one model's samples, by each ensemble."""

    model: str
    sampler: str
    first: Metric
    second: Metric

    @property
    def difference(self) -> float:
        """The second ensemble's value less the first's."""
        assert self.first.value is not None
        assert self.second.value is not None
        return self.second.value - self.first.value

    @property
    def widths(self) -> tuple[float, float]:
        """Half of each stated 95 % interval."""
        first, second = (NORMAL_95 * (metric.se or 0.0) for metric in (self.first, self.second))
        return first, second

    @property
    def agree(self) -> bool:
        """True if the difference is within the interval that follows from both."""
        return abs(self.difference) <= math.hypot(*self.widths)


def other_judges(first: Sequence[Judge], data: ImageData, folder: Path) -> tuple[Judge, ...]:
    """Read as many other judges from the folder; those that it lacks are trained first."""
    cards = find_cards(folder, data.fingerprint) if folder.is_dir() else []
    for seed in range(len(first) + len(cards), 2 * len(first)):
        sys.stderr.write(f"training a judge from seed {seed}\n")
        judge = train_judge(data, recipe=first[0].recipe, seed=seed)
        cards.append(write_judge(judge, folder, f"{data.name}-{seed}", n=len(data.test)))
    second = tuple(read_judge(card) for card in cards[: len(first)])
    assert not {judge.hash for judge in first} & {judge.hash for judge in second}
    return second


def lines(data: ImageData, first: Sequence[Judge], second: Sequence[Judge]) -> Iterator[Line]:
    """Measure every model of the suite at seed 0."""
    context = DataContext(data, (*first, *second))
    for entry in suites.load(SUITE).entries:
        model = train_or_load(Training(entry.spec, entry.recipe, 0), data).model
        if isinstance(model, Autoencoder):
            subject = Subject(model, context, seed=derive(0, "measure"))
            yield from of_subject(subject, entry.spec.label, len(first))


def of_subject(subject: Subject, label: str, count: int) -> Iterator[Line]:
    """Measure the samples of one model by the first `count` judges of its context, and by the others."""
    bank, reals = subject.once(SampleBank), subject.context.once(real_images)
    for sampler in SAMPLERS:
        if why_unusable(bank, sampler) is not None:
            continue
        definition = OF_SAMPLES[sampler]["frechet"]
        each = [
            definition.measured(value, se=error, n=len(view.features))
            for view, real in zip(bank.judged(sampler), reals, strict=True)
            for value, error in (frechet(view, real),)
        ]
        yield Line(label, sampler, over_judges(each[:count]), over_judges(each[count:]))


def splits(records: Sequence[Record]) -> Iterator[Line]:
    """Divide the judges of every Fréchet distance of a run into two disjoint ensembles, in every way.

    The smaller has half of the judges. A metric by fewer than four judges is left out: an ensemble of one
    states no error of its own.
    """
    for record in records:
        for metric in record.metrics:
            judges = range(len(metric.by_judge))
            if metric.name not in FRECHET or len(judges) < 4:
                continue
            image_error = error_of_images(metric, metric.se)
            alone = replace(metric, se=image_error, common_se=None)
            each = [replace(alone, value=value) for value in metric.by_judge]
            for chosen in combinations(judges, len(judges) // 2):
                sides = [[each[i] for i in judges if (i in chosen) == side] for side in (True, False)]
                yield Line(record.label, FRECHET[metric.name], *map(over_judges, sides))


def summary_of_splits(found: Sequence[Line]) -> str:
    """Return how often divided judges agree, in sentences."""
    sizes = " and ".join(str(len(side.by_judge)) for side in (found[0].first, found[0].second))
    rows = len({(line.model, line.sampler) for line in found})
    apart = [line for line in found if not line.agree]
    return (
        f"The judges of the reference run were divided into two disjoint ensembles of {sizes}, in every way, "
        f"and their Fréchet distances of the same samples compared: {len(found):,} comparisons over {rows} "
        "rows of the suite. The difference lies within the 95 % interval that both state, √(w₁² + w₂²), "
        f"in **{1 - len(apart) / len(found):.1%}** of them, and the smaller ensemble's value within the "
        f"interval of the larger one alone in {_share_within(found)}. `{COMMAND}`"
    )


def _share_within(found: Sequence[Line]) -> str:
    return f"{sum(abs(line.difference) <= line.widths[1] for line in found) / len(found):.1%}"


def table(found: Sequence[Line], judges: int) -> str:
    """Return the shares of rows in which independent ensembles agree, and every row, as Markdown."""
    n, agreeing = len(found), sum(line.agree for line in found)
    apart = statistics.median(
        abs(line.difference) / abs(line.first.value) for line in found if line.first.value
    )
    header = ["model", "sampler", "first ensemble", "second", "difference", "agree"]
    cells = [
        (
            line.model,
            line.sampler,
            *(
                numbers.with_error(metric.value, width, 2)
                for metric, width in zip((line.first, line.second), line.widths, strict=True)
            ),
            f"{line.difference:+.2f}",
            "yes" if line.agree else "no",
        )
        for line in found
    ]
    return (
        f"Two ensembles of {judges} judges each, trained from different seeds, measured the same samples: "
        f"{n} rows of suite `{SUITE}` at seed 0. They agree within what both state in **{agreeing / n:.0%}** "
        f"of the rows ({agreeing} of {n}), and the first value lies within the interval of the second alone "
        f"in {_share_within(found)}. The median difference is {apart:.1%} of the value.\n\n"
        f"{markdown.table(header, cells, align='llr')}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the block in the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--run", type=Path, required=True, help="records with the reading of each judge")
    parser.add_argument("--judges", type=Path, metavar="DIR", help="folder of the second ensemble")
    given = parser.parse_args(arguments)
    parts = [summary_of_splits(list(splits(read(given.run).last_records)))]
    if given.judges is not None:
        data = datasets.load(SUITE)
        first = load_judges(data)
        second = other_judges(first, data, given.judges)
        found = []
        for line in lines(data, first, second):
            sys.stderr.write(f"{line}\n")
            found.append(line)
        parts.append(table(found, len(first)))
    content = "\n\n".join(parts)
    text = markdown.with_blocks(given.file.read_text(encoding="utf-8"), {BLOCK: content}, given.file.name)
    given.file.write_text(text, encoding="utf-8")
    sys.stdout.write(content + "\n")


if __name__ == "__main__":
    main()
