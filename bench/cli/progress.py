"""The progress of a run: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from typing_extensions import override

from latentbench.bench.cli.options import short
from latentbench.bench.store.records.record import Record
from latentbench.bench.text import escaping
from latentbench.data.text.numbers import duration, significant

if TYPE_CHECKING:
    from latentbench.bench.reproduce.subject import Reporter

SPEED_OVER_SECONDS = 600.0
"""The remaining time is estimated from the speed over the last ten minutes, since models differ in size."""
COLOURS = {"ok": "green", "skipped": "yellow"}


@contextmanager
def watcher(console: Console) -> Iterator[Lines]:
    """Return the watcher for the kind of console."""
    if console.is_terminal:
        with Bars(console) as bars:
            yield bars
    else:
        yield Lines(console)


@contextmanager
def reporting(console: Console, label: str) -> Iterator[Reporter]:
    """Show the progress and the notes of a command that measures."""
    from latentbench.bench.reproduce.subject import Reporter
    from latentbench.bench.run.data_sets import ShownProgress

    with watcher(console) as watch:
        yield Reporter(ShownProgress(watch, label, {"training": "steps"}), watch.note)


class Lines:
    """Prints a line when a run starts and one for each finished case."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = 0
        self.done = 0

    def run_started(self, path: Path, what: str, total: int, done: int) -> None:
        """Print the path of the records, and their number."""
        self.total, self.done = total, done
        already = f", {done} already done" if done else ""
        self._print(f"{total} {what}{already} → {escaping.markup(short(path))}")

    def stage_started(self, name: str, total: int, what: str) -> None:
        """Print the name of the stage."""
        self._print(f"[dim]{name}: {total} {what}[/]")

    def stage_advanced(self, label: str) -> None:
        """Print nothing: a line follows when the result is written."""

    def result_written(self, record: Record, details: str | None) -> None:
        """Print the model, its status, and its times or its speed."""
        self.done += 1
        colour = COLOURS.get(record.status, "red")
        name, told = _told(record)
        self._print(
            f"[dim]{self.done:>3}/{self.total}[/] {escaping.markup(name)} [{colour}]{record.status}[/]"
            f"  [dim]{escaping.markup(told)}[/]"
        )
        if details:
            self.console.print(details, style="dim", markup=False, highlight=False)

    def note(self, message: str) -> None:
        """Print a message as it is."""
        self._print(escaping.markup(message))

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


STAGES = 3
"""Stages of a case: training, timing and measuring. A row of a sweep has one."""


class Bars(Lines):
    """Two bars under the lines: all results of the run with the time left, and the current stage."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[last]:<24}", style="dim", markup=False),
            console=console,
            transient=True,
            expand=True,
            speed_estimate_period=SPEED_OVER_SECONDS,
        )
        self.whole: TaskID | None = None
        self.stage: TaskID | None = None
        self.share = 0.0
        """The share of a result that a step of the current stage completes."""

    def __enter__(self) -> Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    @override
    def run_started(self, path: Path, what: str, total: int, done: int) -> None:
        super().run_started(path, what, total, done)
        self.whole = self.bars.add_task(f"all {what}", total=total - done, last="")

    @override
    def stage_started(self, name: str, total: int, what: str) -> None:
        if self.stage is not None:
            self.bars.remove_task(self.stage)
        self.stage = self.bars.add_task(name, total=total, last="")
        self.share = {"models": 1 / STAGES, "rows": 1.0}.get(what, 0.0)

    @override
    def stage_advanced(self, label: str) -> None:
        if self.stage is not None:
            self.bars.update(self.stage, advance=1, last=escaping.printable(label))
        if self.whole is not None:
            self.bars.update(self.whole, advance=self.share)


def _told(record: Record) -> tuple[str, str]:
    """Return the name of a result, padded, and the text of its line."""
    if record.point is not None:
        return f"{record.label:<44}", _reached(record)
    times = record.seconds
    return (
        f"{record.model.label} (seed {record.seed})".ljust(28),
        f"trained in {duration(times.train)}, measured in {duration(times.evaluate)}",
    )


def _reached(record: Record) -> str:
    rate, latency = record.metric("examples_per_second"), record.metric("latency_seconds")
    if rate is None or latency is None or rate.value is None or latency.value is None:
        return record.reason or ""
    return "; ".join(
        [f"{significant(rate.value)} examples/s, {duration(latency.value)} per call", *record.marks]
    )
