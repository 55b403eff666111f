"""Results of CLIP_benchmark as records of a run, so that they stand next to our own.

They are marked as measured by CLIP_benchmark. Its files state neither the images nor their number, so a value
has an error, and can be compared, only where the user names a run on the same images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.definitions import definition_of
from latentbench.analysis.statistics.intervals import binomial_se
from latentbench.bench.exports.clip_files import CLIP_BENCHMARK, USUAL_PRECISION
from latentbench.bench.exports.data_names import plain_names
from latentbench.bench.provenance.code import Code
from latentbench.bench.provenance.environment import environment_hash
from latentbench.bench.store.records.record import DataReference, Record, Seconds
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.bench.store.run import Run, read
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown
from latentbench.data.storage.files import read_text
from latentbench.data.text.validation import validated
from latentbench.models.external.open_clip_source import HUB, LOCAL, OpenClipSource
from latentbench.models.training.recipe import Recipe

NAME = "CLIP_benchmark"
ENVIRONMENT: dict[str, object] = {"measured_by": NAME}
NO_NUMBER = f"{NAME} states no number of images, so the error is not known"
OF_SHARES = ("acc1", "acc5")
"""Their metrics that are shares of the images, whose error is binomial."""

Share = Annotated[float, Field(ge=0, le=1, strict=True)]


class ResultFile(BaseModel):
    """A result file of CLIP_benchmark's zero-shot classification; other keys are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]
    pretrained: str
    task: Literal["zeroshot_classification"]
    language: str = "en"
    precision: str = USUAL_PRECISION
    seed: int = 0
    metrics: dict[str, Share | None]

    @property
    def tag(self) -> str:
        """The origin of the weights; none for a model of the zoo, in a file that we exported."""
        return "" if self.pretrained == f"seed-{self.seed}" else self.pretrained

    @property
    def label(self) -> str:
        """The label that our record of the same model has, so that both are compared."""
        weights: dict[str, str] = {}
        if self.tag and not self.model.startswith((LOCAL, HUB)):  # with which open_clip ignores the tag
            weights = {"checkpoint" if Path(self.tag).suffix else "tag": self.tag}
        name = (
            OpenClipSource(model=self.model, **weights).label if self.tag == self.pretrained else self.model
        )
        precision = "" if self.precision == USUAL_PRECISION else self.precision
        language = "" if self.language == "en" else self.language
        return " ".join(f"{name} {precision} {language}".split())


def import_results(
    paths: Sequence[Path], store: Store, suite: str, *, same_images: Run | None, names: Mapping[str, str]
) -> Run:
    """Write the results in files, or in the files of folders, as one run of a store.

    `same_images` is a run on the same images: a data set takes the fingerprint and the number of images of
    the run's data set of the same name. `names` are our names of their data sets.

    Raises LatentbenchError for a file that is no such result, for one result given twice, and for a name that
    is not there.
    """
    known = _data_by_name(same_images.last_records) if same_images else {}
    records: dict[str, Record] = {}
    used = set()
    for path in _files(paths):
        found = _read(path)
        used.add(found.dataset)
        record = _record(found, path, suite, names.get(found.dataset, found.dataset), known)
        if record.case in records:
            raise LatentbenchError(
                f"{path}: {found.model} {found.pretrained} on {found.dataset} is given twice; leave one out"
            )
        records[record.case] = record
    for name in names:
        if name not in used:
            raise LatentbenchError(f"--name: {unknown('data set', name, sorted(used))}")
    store.prepare()
    store.remember_environment(environment_hash(ENVIRONMENT), ENVIRONMENT)
    with store.writer(suite, None) as writer:
        for record in records.values():
            writer.append(record.model_copy(update={"run": writer.run_id}))
        return read(writer.finish())


def _data_by_name(records: Sequence[Record]) -> Mapping[str, DataReference]:
    """Return the data sets of a run by their names, and by the plain names under which they are exported."""
    known = {record.data.name: record.data for record in records}
    return {plain: known[name] for name, plain in plain_names(known).items()} | known


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise LatentbenchError(f"{path}: no .json files in this folder")
        yield from found


def _read(path: Path) -> ResultFile:
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise LatentbenchError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise LatentbenchError(f"{path}: a result of {NAME} is a mapping, got {type(content).__name__}")
    found = validated(ResultFile, content, str(path))
    if not any(found.metrics.get(name) is not None for name in CLIP_BENCHMARK):
        raise LatentbenchError(f"{path}: metrics must have one of {', '.join(CLIP_BENCHMARK)}")
    return found


def _record(
    found: ResultFile, path: Path, suite: str, data: str, known: Mapping[str, DataReference]
) -> Record:
    if known and data not in known:
        raise LatentbenchError(
            f"{path}: {unknown('data set', data, list(known))}; give its name in that run with "
            f"--name {found.dataset}=NAME"
        )
    unstated = hashlib.sha256(f"{NAME} {data}".encode()).hexdigest()
    reference = known.get(data, DataReference(name=data, fingerprint=unstated, train=0, test=0))
    label = found.label
    settings = {"model": found.model, "tag": found.tag, "language": found.language}
    model = {"family": "pretrained", "latent_dim": 0, "pretrained": settings, "precision": found.precision}
    case = json.dumps([NAME, model, found.seed, reference.fingerprint])
    return Record(
        suite=suite,
        run="",
        case=hashlib.sha256(case.encode()).hexdigest()[:16],
        model=RecordedModel.model_validate(model),
        model_label=label,
        model_series=label,
        data=reference,
        recipe=Recipe(),
        seed=found.seed,
        analyses=("prompts",),
        trained=False,
        status="ok",
        metrics=tuple(_metrics(found, reference.test if known else None)),
        environment=environment_hash(ENVIRONMENT),
        code=Code(version="", commit=None, dirty=None, source=NAME),
        started=datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds"),
        seconds=Seconds(train=None, evaluate=None),
        measured_by=NAME,
    )


def _metrics(found: ResultFile, n: int | None) -> Iterator[Metric]:
    for theirs, ours in CLIP_BENCHMARK.items():
        value = found.metrics.get(theirs)
        if value is None:
            continue
        if n is None:
            yield replace(definition_of(ours).measured(value), reason=NO_NUMBER)
        elif theirs in OF_SHARES:
            se = binomial_se(round(value * n), n)
            yield definition_of(ours).measured(value, n=n, se=se, common_se=se)
        else:
            reason = f"{NAME} states no result for each class, so the error is not known"
            yield replace(definition_of(ours).measured(value, n=n), reason=reason)
