"""Zero-shot results in the files of CLIP_benchmark and of MTEB, one for each record.

A file has CLIP_benchmark's keys. `precision` and `seed` are added: results that differ in them are
different ones.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from latentbench.bench.exports.data_names import plain_names
from latentbench.bench.exports.registry import EXPORTS, write
from latentbench.bench.store.records.record import Record
from latentbench.bench.store.run import Run
from latentbench.data.errors import LatentbenchError

LANGUAGE, USUAL_PRECISION = "en", "fp32"
TASK = "zeroshot_classification"
CLIP_BENCHMARK = {"acc1": "prompt_top1", "acc5": "prompt_top5", "mean_per_class_recall": "prompt_mean_recall"}
"""The metrics of CLIP_benchmark's zero-shot classification, and ours of the same definition."""


@EXPORTS.register("clip-benchmark")
def clip_benchmark(run: Run, folder: Path) -> list[Path]:
    """Write zero-shot results as CLIP_benchmark does; `clip_benchmark build` makes one table of them."""
    results = _measured(run)
    contents = [_as_clip_benchmark(each) for each in results]
    names = [[each.data, each.pretrained, each.model, *each.told_apart, LANGUAGE, TASK] for each in results]
    return _written(folder, names, contents)


@EXPORTS.register("mteb")
def mteb(run: Run, folder: Path) -> list[Path]:
    """Write zero-shot results as task results of MTEB."""
    results = _measured(run)
    contents = [_as_mteb(each) for each in results]
    return _written(
        folder, [[each.data, each.model, each.pretrained, *each.told_apart] for each in results], contents
    )


@dataclass(frozen=True)
class _Result:
    """A record with a zero-shot result; its model and the origin of its weights, as in CLIP_benchmark."""

    record: Record
    data: str
    model: str
    pretrained: str
    precision: str | None
    """The number format of a pretrained model."""

    @classmethod
    def of(cls, record: Record, data: str) -> Self:
        """Name a record's data and model."""
        settings: Any = record.model.model_dump(mode="json")
        source = settings.get("pretrained")
        if not isinstance(source, dict):
            return cls(record, data, record.model_label, f"seed-{record.seed}", None)
        origin = str(source.get("tag") or source.get("checkpoint") or "")
        return cls(record, data, str(source["model"]), origin, settings.get("precision"))

    @property
    def told_apart(self) -> list[str]:
        """The parts of a file's name that tell it from the usual one: the precision and the seed."""
        unusual = self.precision is not None and self.precision != USUAL_PRECISION
        seed = [f"seed-{self.record.seed}"] if self.precision is not None and self.record.seed else []
        return ([str(self.precision)] if unusual else []) + seed


def _measured(run: Run) -> list[_Result]:
    """Return the records with a zero-shot result. Raises LatentbenchError if there is none."""
    found = [record for record in run.last_records if _value(record, "prompt_top1") is not None]
    if not found:
        raise LatentbenchError(
            f"{run.stem}: no zero-shot results to export; add prompts to the suite's analyses"
        )
    names = plain_names(record.data.name for record in found)
    return [_Result.of(record, names[record.data.name]) for record in found]


def _value(record: Record, name: str) -> float | None:
    metric = record.metric(name)
    return None if metric is None else metric.value


def _as_clip_benchmark(result: _Result) -> dict[str, Any]:
    metrics = {theirs: _value(result.record, ours) for theirs, ours in CLIP_BENCHMARK.items()}
    # Where there are fewer than five classes, CLIP_benchmark has no acc5 either.
    known = {name: value for name, value in metrics.items() if value is not None}
    return {
        "dataset": result.data,
        "model": result.model,
        "pretrained": result.pretrained,
        "task": TASK,
        "metrics": known,
        "language": LANGUAGE,
        "precision": result.precision or USUAL_PRECISION,
        "seed": result.record.seed,
    }


def _as_mteb(result: _Result) -> dict[str, Any]:
    accuracy = _value(result.record, "prompt_top1")
    scores = {
        "accuracy": accuracy,
        "main_score": accuracy,
        "hf_subset": "default",
        "languages": ["eng-Latn"],
    }
    return {
        "dataset_revision": result.record.data.fingerprint,
        "task_name": result.data,
        "mteb_version": None,  # MTEB measured nothing
        "scores": {"test": [scores]},
        "evaluation_time": result.record.seconds.evaluate,
        "kg_co2_emissions": None,
    }


def _written(folder: Path, names: Sequence[Sequence[str]], contents: Sequence[dict[str, Any]]) -> list[Path]:
    """Write JSON files under names made of parts, without the characters that some systems forbid."""
    seen: Counter[str] = Counter()
    paths = []
    for parts, content in zip(names, contents, strict=True):
        name = "_".join(re.sub(r"[^\w.=-]+", "-", part).strip("-") for part in parts if part)
        seen[name] += 1
        again = f"_{seen[name]}" if seen[name] > 1 else ""
        text = json.dumps(content, indent=2, ensure_ascii=False)
        paths.append(write(folder / f"{name}{again}.json", text))
    return paths
