"""The runner: a suite in, a finished run out. It trains nothing and measures nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from latentbench import data as datasets
from latentbench.bench import execution
from latentbench.bench.case import Case, cases
from latentbench.bench.environment import code, environment, environment_hash
from latentbench.bench.execution import Place
from latentbench.bench.record import Record
from latentbench.bench.store import Run, Store, Writer, read
from latentbench.bench.suite import Suite
from latentbench.data.errors import LatentbenchError
from latentbench.models.zoo import check_fits


class Watcher(execution.Watcher, Protocol):
    """Is told how a run goes; draws the progress."""

    def run_started(self, path: Path, total: int, done: int) -> None:
        """`done` of `total` cases are in the run already."""

    def case_started(self, case: Case) -> None:
        """A case begins."""

    def case_finished(self, record: Record) -> None:
        """A case is on disk."""

    def note(self, message: str) -> None:
        """Something worth knowing."""


@dataclass(frozen=True)
class Options:
    """How a suite is run. None of it changes what a case is."""

    seeds: int | None = None
    device: str = "auto"
    fresh: bool = False
    use_cache: bool = True


@dataclass(frozen=True)
class Origin:
    """What must agree for an earlier result to stand in for a new one."""

    environment: str
    source: str

    def vouches_for(self, record: Record, case: Case) -> bool:
        """Whether the record is a good result of the case, measured by this code in this environment."""
        return (
            record.status == "ok"
            and record.case == case.id
            and record.environment == self.environment
            and record.code.source == self.source
            and record.analyses == case.analyses
        )


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; anything else is taken at its word, or refused."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    allowed = "auto, cpu, cuda, cuda:N"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise LatentbenchError(f"unknown device {name!r}; allowed: {allowed}") from None
    if device.type not in ("cpu", "cuda"):
        raise LatentbenchError(f"device {name!r} is not supported; allowed: {allowed}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise LatentbenchError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def run_suite(suite: Suite, store: Store, options: Options, watcher: Watcher) -> Run:
    """Run what is not yet done of a suite, a line on disk for each case; returns the finished run.

    A case that is `ok` in an earlier run by the same code, in the same environment and with the same
    analyses is taken over, not measured again, unless `options.fresh`. Whatever stops the run leaves it
    resumable: the same call goes on from there.
    """
    store.prepare()
    device = resolve_device(options.device)
    data = datasets.load(suite.data)
    for entry in suite.entries:
        check_fits(entry.spec, data.image_shape, entry.where)
    wanted = cases(suite, data.name, data.fingerprint, options.seeds or suite.seeds)
    here = environment(device)
    origin = Origin(environment_hash(here), code().source)
    store.remember_environment(origin.environment, here)

    earlier = [] if options.fresh else [read(path) for path in store.paths(suite.name)]
    if complete := _complete_run(earlier, wanted, origin):
        watcher.note(f"all {len(wanted)} cases are done already; --fresh measures them again")
        return complete
    with store.writer(suite.name, code().commit, _unfinished(earlier, store, origin)) as writer:
        todo = _take_over(earlier, wanted, origin, writer)
        watcher.run_started(writer.path, len(wanted), len(wanted) - len(todo))
        if todo:
            context = execution.data_context(data, device)
            place = Place(suite.name, writer.run_id, context, origin.environment, options.use_cache)
        for case in todo:
            watcher.case_started(case)
            record, arrays = execution.execute(case, place, watcher)
            watcher.case_finished(writer.append(record, arrays))
        return read(writer.finish())


def _vouched(records: Sequence[Record], case: Case, origin: Origin) -> Record | None:
    return next((record for record in reversed(records) if origin.vouches_for(record, case)), None)


def _complete_run(earlier: list[Run], wanted: list[Case], origin: Origin) -> Run | None:
    """The latest finished run that holds a good result of every wanted case."""
    for run in reversed(earlier):
        if run.finished and all(_vouched(run.records, case, origin) for case in wanted):
            return run
    return None


def _unfinished(earlier: list[Run], store: Store, origin: Origin) -> Path | None:
    """The latest interrupted run that this code, in this environment, can go on with."""
    for run in reversed(earlier):
        ours = all(
            (record.environment, record.code.source) == (origin.environment, origin.source)
            for record in run.records
        )
        if not run.finished and ours and not store.is_written_now(run.path):
            return run.path
    return None


def _take_over(earlier: list[Run], wanted: list[Case], origin: Origin, writer: Writer) -> list[Case]:
    """Copy earlier good results into the run being written; returns the cases still to do."""
    todo = []
    for case in wanted:
        if _vouched(writer.records, case, origin):
            continue
        for run in reversed(earlier):
            if record := _vouched(run.records, case, origin):
                writer.append(record.reused_in(writer.run_id), run.arrays(record))
                break
        else:
            todo.append(case)
    return todo
