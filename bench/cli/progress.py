"""How a run looks while it goes: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from latentbench.bench.run.case import Case
from latentbench.bench.store.record import Record
from latentbench.bench.sweep.view import duration, three_digits

COLOURS = {"ok": "green", "skipped": "yellow"}


@contextmanager
def watcher(console: Console) -> Iterator[Lines]:
    """The watcher that suits the console."""
    if console.is_terminal:
        with Bars(console) as bars:
            yield bars
    else:
        yield Lines(console)


class Lines:
    """A line when a run starts and one for each finished case."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = 0
        self.done = 0

    def run_started(self, path: Path, total: int, done: int) -> None:
        """Say where the records go, and how many are there."""
        self.total, self.done = total, done
        already = f", {done} of them done already" if done else ""
        self.note(f"{total} cases{already} → {path}")

    def stage_started(self, name: str, total: int) -> None:
        """Name the stage."""
        self.note(f"[dim]{name} {total} models[/]")

    def stage_advanced(self, case: Case) -> None:
        """Nothing: the finished case says it all."""

    def case_finished(self, record: Record, details: str | None) -> None:
        """The case, its status, and where its time went."""
        self.done += 1
        colour = COLOURS.get(record.status, "red")
        label = escape(f"{record.model.label} (seed {record.seed})")
        self.note(
            f"[dim]{self.done:>3}/{self.total}[/] {label:<28} [{colour}]{record.status}[/]"
            f"  [dim]trained in {_seconds(record.seconds.train)},"
            f" measured in {_seconds(record.seconds.evaluate)}[/]"
        )
        if details:
            self.console.print(details, style="dim", markup=False, highlight=False)

    def rows_started(self, path: Path, total: int, done: int) -> None:
        """The same of a sweep, which has rows."""
        self.total, self.done = total, done
        already = f", {done} of them done already" if done else ""
        self.note(f"{total} rows{already} → {path}")

    def row_finished(self, record: Record) -> None:
        """A row of a sweep: what it reached, or why it has no number."""
        self.done += 1
        colour = COLOURS.get(record.status, "red")
        self.note(
            f"[dim]{self.done:>3}/{self.total}[/] {escape(record.label):<44} [{colour}]{record.status}[/]"
            f"  [dim]{escape(_reached(record))}[/]"
        )

    def note(self, message: str) -> None:
        """A line."""
        self.console.print(message, highlight=False, soft_wrap=True)


class Bars(Lines):
    """A bar under the lines: the cases through the stage in hand."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[last]:<24}"),
            console=console,
            transient=True,
            expand=True,
        )
        self.stage: TaskID | None = None

    def __enter__(self) -> Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def stage_started(self, name: str, total: int) -> None:
        """A new bar in place of the last stage's."""
        if self.stage is not None:
            self.bars.remove_task(self.stage)
        self.stage = self.bars.add_task(name, total=total, last="")

    def rows_started(self, path: Path, total: int, done: int) -> None:
        """The line, and a bar."""
        super().rows_started(path, total, done)
        self.stage = self.bars.add_task("timing", total=total - done, last="")

    def row_finished(self, record: Record) -> None:
        """The line, and the bar moved."""
        super().row_finished(record)
        if self.stage is not None:
            self.bars.update(self.stage, advance=1, last=escape(record.model.label))

    def stage_advanced(self, case: Case) -> None:
        """Move the bar."""
        if self.stage is not None:
            self.bars.update(self.stage, advance=1, last=escape(case.label))


def _reached(record: Record) -> str:
    rate, latency = record.metric("examples_per_second"), record.metric("latency_seconds")
    if rate is None or latency is None or rate.value is None or latency.value is None:
        return record.reason or ""
    marks = record.conditions.marks if record.conditions else ()
    return "; ".join([f"{three_digits(rate.value)} examples/s, {duration(latency.value)} a call", *marks])


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"
