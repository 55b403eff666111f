"""Takes the cases of a run through training, timing and measuring, on a team of workers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from latentbench.analysis.core.registry import SharedPass
from latentbench.bench.executors.protocol import Died
from latentbench.bench.run.case import Case
from latentbench.bench.run.journal import TRAINING, Journal
from latentbench.bench.run.resumable import OpenRun
from latentbench.bench.run.stages.measuring import killed, measure_all, pass_over_shard
from latentbench.bench.run.stages.progress import Progress, Shard
from latentbench.bench.run.stages.records import record
from latentbench.bench.run.stages.training import TrainingOptions, train
from latentbench.bench.run.team import Team
from latentbench.data.images import ImageData
from latentbench.models.zoo import stacks


@dataclass(frozen=True)
class Job:
    """Takes cases through training, timing and measuring, and writes a record of each."""

    run: OpenRun[Case]
    team: Team
    training: TrainingOptions
    journal: Journal
    data: ImageData
    shards: int
    """The number of workers that share the test images of a model."""
    on: str = ""
    """The words that name the data set where the suite has several: ` on digits`."""

    def run_cases(self, todo: list[Case]) -> None:
        """Complete every case; a record is written as soon as it is complete."""
        progresses = [Progress(case, self.journal.steps(case)) for case in todo]
        trained = self._stage("training", self._train(progresses), len(todo))
        timed = self._stage("timing", self._measure(_in_order(trained, todo), exclusive=True), len(todo))
        in_order = _in_order(timed, todo)
        self._pass_over([progress for progress in in_order if progress.missing(exclusive=False)])
        measured = self._measure(in_order, exclusive=False)
        for progress in self._stage("measuring", measured, len(todo)):
            self._write(progress)

    def _train(self, progresses: list[Progress]) -> Iterator[Progress]:
        todo = [progress for progress in progresses if TRAINING not in progress.steps]
        yield from (progress for progress in progresses if TRAINING in progress.steps)
        trained = self.team.stage(partial(train, options=self.training))
        for group, outcome in self.team.crew.map(trained, self._training_groups(todo)):
            if not isinstance(outcome, Died):
                for note in (note for progress in outcome for note in progress.notes):
                    self.run.watcher.note(note)
                yield from outcome
                continue
            # Members of a stack whose process died are trained one by one, so that the others have results.
            for progress in group:
                alone = self.team.crew.alone(trained, [progress]) if len(group) > 1 else outcome
                if isinstance(alone, Died):
                    yield killed(progress, alone, TRAINING, self.journal)
                else:
                    yield from alone

    def _measure(self, progresses: list[Progress], *, exclusive: bool) -> Iterator[Progress]:
        measure = self.team.stage(partial(measure_all, exclusive=exclusive))
        todo = [[progress] for progress in progresses if progress.missing(exclusive=exclusive)]
        yield from (progress for progress in progresses if not progress.missing(exclusive=exclusive))
        for (progress,), outcome in self.team.crew.map(measure, todo, exclusive=exclusive):
            if isinstance(outcome, Died):
                yield self._after_death(progress, outcome, exclusive=exclusive)
            else:
                yield from outcome

    def _after_death(self, progress: Progress, died: Died, *, exclusive: bool) -> Progress:
        """Finish a case whose process died: the analysis in progress has failed, the others are done.

        The journal tells which one that was; where it does not, the analyses are tried one by one.
        """
        most = None if self.team.shares_journal else 1
        measure = self.team.stage(partial(measure_all, exclusive=exclusive, most=most))
        outcome: list[Progress] | Died = died
        if not self.team.shares_journal:
            outcome = self.team.crew.alone(measure, [progress], exclusive=exclusive)
        while True:
            if isinstance(outcome, Died):
                progress.steps.update(self.journal.steps(progress.case))
                in_hand = progress.missing(exclusive=exclusive)[0]
                killed(progress, outcome, in_hand, self.journal)
            else:
                (progress,) = outcome
            if not progress.missing(exclusive=exclusive):
                return progress
            outcome = self.team.crew.alone(measure, [progress], exclusive=exclusive)

    def _pass_over(self, progresses: list[Progress]) -> None:
        """Let several workers share the passes over the test images that trained cases need."""
        trained = [progress for progress in progresses if progress.steps[TRAINING].checkpoint]
        pieces = [[replace(each, shard=shard)] for each in trained for shard in self._shards(each)]
        if not pieces:
            return
        names = dict.fromkeys(piece.shard.shared.name for (piece,) in pieces if piece.shard)
        self.run.watcher.stage_started(f"{', '.join(names)}{self.on}", len(pieces), "shards")
        found: dict[tuple[str, SharedPass[Any]], list[Shard]] = defaultdict(list)
        for _, outcome in self.team.crew.map(self.team.stage(pass_over_shard), pieces):
            for piece in () if isinstance(outcome, Died) else outcome:
                self.run.watcher.stage_advanced(piece.case.label)
                if piece.shard is not None and piece.shard.found is not None:
                    found[piece.case.id, piece.shard.shared].append(piece.shard)
        by_id = {progress.case.id: progress for progress in trained}
        for (case, shared), shards in found.items():
            # If a shard failed, measuring fails in the same way, and is recorded.
            if len(shards) == shards[0].of:
                parts = [shard.found for shard in sorted(shards, key=lambda shard: shard.number)]
                by_id[case].passed.append((shared, shared.joined(parts)))

    def _shards(self, progress: Progress) -> Iterator[Shard]:
        """Yield the parts of the passes that a case needs, if several workers are to share them."""
        for shared in progress.shared_passes if self.shards > 1 else ():
            count = min(self.shards, shared.batches(self.data))
            if count > 1:
                yield from (Shard(shared, number, count) for number in range(count))

    def _write(self, progress: Progress) -> None:
        written = record(
            progress,
            self.data.image_shape,
            suite=self.run.suite,
            run=self.run.writer.run_id,
            environment=self.run.origin.environment,
            threads=self.team.threads,
        )
        self.run.write(written, progress.arrays, progress.failure.details if progress.failure else None)
        self.journal.drop(progress.case)

    def _training_groups(self, todo: list[Progress]) -> list[list[Progress]]:
        """Return the cases that a worker trains together: one, or the largest stack that fits the memory."""
        if not self.training.stacked or len(todo) < 2:
            return [[progress] for progress in todo]
        positions = stacks(
            [progress.case.training for progress in todo],
            self.data.image_shape,
            memory_bytes=self.team.stack_bytes(),
            largest=math.ceil(len(todo) / (self.team.size)),
        )
        return [[todo[position] for position in stack] for stack in positions]

    def _stage(self, name: str, results: Iterable[Progress], total: int) -> Iterator[Progress]:
        """Pass the results of a stage on, and report each."""
        self.run.watcher.stage_started(f"{name}{self.on}", total, "models")
        for progress in results:
            self.run.watcher.stage_advanced(progress.case.label)
            yield progress


def _in_order(progresses: Iterable[Progress], todo: list[Case]) -> list[Progress]:
    """Sort cases in the order of the suite: workers finish in any order."""
    position = {case.id: index for index, case in enumerate(todo)}
    return sorted(progresses, key=lambda progress: position[progress.case.id])
