"""How a run looks while it goes: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from latentbench.bench.store.record import Record
from latentbench.bench.text import escaping
from latentbench.bench.text.numbers import duration, significant

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

    def run_started(self, path: Path, what: str, total: int, done: int) -> None:
        """Print where the records go, and how many are there."""
        self.total, self.done = total, done
        already = f", {done} of them done already" if done else ""
        self.note(f"{total} {what}{already} → {escaping.markup(path)}")

    def stage_started(self, name: str, total: int) -> None:
        """Print the name of the stage."""
        self.note(f"[dim]{name} {total} models[/]")

    def stage_advanced(self, label: str) -> None:
        """Print nothing: a line follows when the result is written."""

    def result_written(self, record: Record, details: str | None) -> None:
        """Print the model, its status, and where the time went or which speed was reached."""
        self.done += 1
        colour = COLOURS.get(record.status, "red")
        name, told = _told(record)
        self.note(
            f"[dim]{self.done:>3}/{self.total}[/] {escaping.markup(name)} [{colour}]{record.status}[/]"
            f"  [dim]{escaping.markup(told)}[/]"
        )
        if details:
            self.console.print(details, style="dim", markup=False, highlight=False)

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

    def stage_advanced(self, label: str) -> None:
        """Move the bar."""
        if self.stage is not None:
            self.bars.update(self.stage, advance=1, last=escaping.markup(label))


def _told(record: Record) -> tuple[str, str]:
    """Return the name of a result, padded, and what its line says of it."""
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
    marks = record.conditions.marks if record.conditions else ()
    return "; ".join([f"{significant(rate.value)} examples/s, {duration(latency.value)} per call", *marks])
