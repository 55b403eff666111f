"""The shared parts of all commands: consoles, exit codes, options, and the finding and printing of runs."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from latentbench.bench.text import escaping
from latentbench.data.registry import unknown

if TYPE_CHECKING:
    from latentbench.bench.store.run import Run

EXIT_FAILED, EXIT_USAGE, EXIT_REGRESSION, EXIT_NOTHING = 1, 2, 3, 4
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143

# Without emoji, because the name of a data set may contain `:one:`.
out = Console(emoji=False)
err = Console(stderr=True, emoji=False)


class Format(StrEnum):
    """The formats in which data are printed."""

    rich = "rich"
    csv = "csv"
    md = "md"
    json = "json"


Choice = TypeVar("Choice", bound=StrEnum)


def choice(kind: type[Choice]) -> dict[str, Any]:
    """Return the settings of an option with these values; a misspelt value is answered with the nearest."""
    values = [each.value for each in kind]

    def parse(value: str) -> Choice:
        if value not in values:
            raise typer.BadParameter(str(unknown("value", value, values)))
        return kind(value)

    return {"parser": parse, "metavar": f"[{'|'.join(values)}]", "autocompletion": lambda: values}


Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="The results folder.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print.", **choice(Format))]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="A path, a suite, a run id (or its start), latest, latest~N or reference:SUITE.",
    ),
]
RESULTS = Path("results")


def find(name: str, results: Path) -> Run:
    """Read a run by any of its names, and warn of unreadable lines."""
    from latentbench.bench.store.reference import find_reference, is_reference
    from latentbench.bench.store.run import read
    from latentbench.bench.store.store import Store

    path = find_reference(name, results) if is_reference(name) else Store(results).find(name)
    return with_warnings(read(path))


def find_two(a: str, b: str, results: Path) -> tuple[Run, Run]:
    """Read two runs to compare; `reference` is the reference run of the other's suite."""
    from latentbench.bench.store.reference import REFERENCE

    if a == REFERENCE:
        second = find(b, results)
        return find(f"{REFERENCE}:{second.suite}", results), second
    first = find(a, results)
    return first, find(f"{REFERENCE}:{first.suite}" if b == REFERENCE else b, results)


def with_warnings(run: Run) -> Run:
    """Return the run, after warning of lines that could not be read, and of a run that is not finished."""
    if not run.finished:
        count = f"{len(run.records)} record{'' if len(run.records) == 1 else 's'}"
        err.print(
            f"[yellow]warning:[/] {escaping.markup(run.stem)} is unfinished: it has {count} so far; run the "
            f"same command again to resume, such as: latentbench run {escaping.markup(run.suite)}",
            highlight=False,
            soft_wrap=True,
        )
    for warning in run.warnings:
        err.print(f"[yellow]warning:[/] {escaping.markup(warning)}", highlight=False, soft_wrap=True)
    return run


def say_started(what: str, results: Path) -> None:
    """Print the first line of a run: what follows needs torch, which takes seconds to import."""
    say(err, f"{what}: loading; results go to {results}", "dim")


def short(path: Path) -> Path:
    """Return a path from the current folder, if it is inside of it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Send what users' code prints to stderr, in this process and in workers: stdout is for results."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no stdout
        yield
        return
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def say(console: Console, text: object, style: str = "") -> None:
    """Print data, such as a path or a message, as plain text that is not folded."""
    for line in str(text).splitlines() or [""]:
        console.print(escaping.plain(line, style), highlight=False, soft_wrap=True)


def prepare_streams() -> None:
    """Make every text printable in the encoding of the terminal or pipe."""
    codecs.register_error("latentbench", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="latentbench")


ASCII = {"±": "+-", "–": "-", "−": "-", "×": "x", "→": "->", "≤": "<=", "≥": ">=", "↑": "^", "↓": "v"} | {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "σ": "sigma",
    "µ": "u",
    "·": "*",
    "…": "...",
    "é": "e",
    "✓": "ok",
    "✗": "no",
    "†": "+",
    "‡": "++",
    "§": "!",
    "¶": "*",
}
"""Replacements of characters that an encoding lacks; others are shown as escapes."""


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    text = "".join(ASCII.get(each, each.encode("unicode_escape").decode()) for each in lacking)
    return text, error.end


def emit(renderable: object) -> None:
    """Print text as it is, and everything else through rich."""
    if isinstance(renderable, str):
        sys.stdout.write(renderable)
    else:
        out.print(renderable)
