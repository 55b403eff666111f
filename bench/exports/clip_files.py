"""Zero-shot results in the files of CLIP_benchmark and of MTEB, one for each model and seed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latentbench.bench.exports.registry import EXPORTS, write
from latentbench.bench.store.records.record import Record
from latentbench.bench.store.run import Run
from latentbench.data.errors import LatentbenchError

LANGUAGE = "en"
TASK = "zeroshot_classification"
CLIP_BENCHMARK = {"acc1": "prompt_top1", "acc5": "prompt_top5", "mean_per_class_recall": "prompt_mean_recall"}
"""The metrics of CLIP_benchmark's zero-shot classification, and ours of the same definition."""


@EXPORTS.register("clip-benchmark")
def clip_benchmark(run: Run, folder: Path) -> list[Path]:
    """Write zero-shot results as CLIP_benchmark does; `clip_benchmark build` makes one table of them."""
    return [
        _write(
            folder,
            [content["dataset"], content["pretrained"], content["model"], LANGUAGE, TASK],
            content,
        )
        for content in map(_as_clip_benchmark, _measured(run))
    ]


@EXPORTS.register("mteb")
def mteb(run: Run, folder: Path) -> list[Path]:
    """Write zero-shot results as task results of MTEB."""
    return [
        _write(folder, [record.data.name, *_model(record)], _as_mteb(record)) for record in _measured(run)
    ]


def _measured(run: Run) -> Iterator[Record]:
    """Yield the records with a zero-shot result. Raises LatentbenchError if there is none."""
    found = [record for record in run.last_records if _value(record, "prompt_top1") is not None]
    if not found:
        raise LatentbenchError(
            f"{run.stem}: no zero-shot results to export; add prompts to the suite's analyses"
        )
    yield from found


def _value(record: Record, name: str) -> float | None:
    metric = record.metric(name)
    return None if metric is None else metric.value


def _model(record: Record) -> tuple[str, str]:
    """Return the model's name and the origin of its weights, as CLIP_benchmark separates them."""
    pretrained: Any = record.model.model_dump(mode="json").get("pretrained")
    if isinstance(pretrained, dict):
        return str(pretrained["model"]), str(pretrained.get("tag") or pretrained.get("checkpoint") or "")
    return record.model_label, f"seed-{record.seed}"


def _as_clip_benchmark(record: Record) -> dict[str, Any]:
    model, pretrained = _model(record)
    metrics = {theirs: _value(record, ours) for theirs, ours in CLIP_BENCHMARK.items()}
    # Where there are fewer than five classes, CLIP_benchmark has no acc5 either.
    known = {name: value for name, value in metrics.items() if value is not None}
    return {
        "dataset": record.data.name,
        "model": model,
        "pretrained": pretrained,
        "task": TASK,
        "metrics": known,
        "language": LANGUAGE,
    }


def _as_mteb(record: Record) -> dict[str, Any]:
    accuracy = _value(record, "prompt_top1")
    scores = {
        "accuracy": accuracy,
        "main_score": accuracy,
        "hf_subset": "default",
        "languages": ["eng-Latn"],
    }
    return {
        "dataset_revision": record.data.fingerprint,
        "task_name": record.data.name,
        "mteb_version": None,  # MTEB measured nothing
        "scores": {"test": [scores]},
        "evaluation_time": record.seconds.evaluate,
        "kg_co2_emissions": None,
    }


def _write(folder: Path, parts: list[str], content: dict[str, Any]) -> Path:
    """Write a JSON file whose name is made of parts, in which only letters that every system allows stay."""
    name = "_".join(re.sub(r"[^\w.=-]+", "-", part).strip("-") for part in parts if part)
    return write(folder / f"{name}.json", json.dumps(content, indent=2, ensure_ascii=False))
