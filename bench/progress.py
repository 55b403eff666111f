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

from latentbench.bench.case import Case
from latentbench.bench.record import Record
from latentbench.bench.runner import Watcher

COLOURS = {"ok": "green", "skipped": "yellow"}


@contextmanager
def watcher(console: Console) -> Iterator[Watcher]:
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

    def case_started(self, case: Case) -> None:
        """Nothing: the finished case says it all."""

    def training(self, done: int, total: int) -> None:
        """Nothing."""

    def measuring(self, analysis: str) -> None:
        """Nothing."""

    def case_finished(self, record: Record) -> None:
        """The case, its status, and where its time went."""
        self.done += 1
        colour = COLOURS.get(record.status, "red")
        label = escape(f"{record.model.label} (seed {record.seed})")
        self.note(
            f"[dim]{self.done:>3}/{self.total}[/] {label:<28} [{colour}]{record.status}[/]"
            f"  [dim]trained in {_seconds(record.seconds.train)},"
            f" measured in {_seconds(record.seconds.evaluate)}[/]"
        )

    def problem(self, message: str, details: str) -> None:
        """The traceback of a failure, for whoever has to mend it."""
        self.console.print(details, style="dim", markup=False, highlight=False)
        self.note(f"[red]{escape(message)}[/]")

    def note(self, message: str) -> None:
        """A line."""
        self.console.print(message, highlight=False, soft_wrap=True)


class Bars(Lines):
    """Two bars under the lines: the cases of the run, and the work in hand."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<40}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            expand=True,
        )
        self.cases: TaskID | None = None
        self.work: TaskID | None = None
        self.label = ""

    def __enter__(self) -> Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def run_started(self, path: Path, total: int, done: int) -> None:
        """Draw the bars."""
        super().run_started(path, total, done)
        self.cases = self.bars.add_task("cases", total=total, completed=done)
        self.work = self.bars.add_task("", total=None)

    def case_started(self, case: Case) -> None:
        """Name the case."""
        self.label = case.label
        self._show("preparing")

    def training(self, done: int, total: int) -> None:
        """Move the bar, some hundred times in all."""
        if done == total or done % max(total // 100, 1) == 0:
            self._show("training", completed=done, total=total)

    def measuring(self, analysis: str) -> None:
        """Name the analysis."""
        self._show(analysis)

    def case_finished(self, record: Record) -> None:
        """Move the bar of the cases."""
        super().case_finished(record)
        if self.cases is not None:
            self.bars.advance(self.cases)

    def _show(self, activity: str, *, completed: int = 0, total: int | None = None) -> None:
        if self.work is not None:
            description = escape(f"{self.label}: {activity}")
            self.bars.update(self.work, description=description, completed=completed, total=total)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"
