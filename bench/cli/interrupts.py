"""Ctrl-C and SIGTERM: a run stops in order, and says how to resume it."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from latentbench.bench.cli.options import (
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    err,
    only_results_on_stdout,
    say,
)

if TYPE_CHECKING:
    from latentbench.bench.cli.progress import Lines
    from latentbench.bench.store.run import Run


SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a batch system or `docker stop` sends it; handled like Ctrl-C."""


def _stop(number: int, _: object) -> None:
    """Raise for the first signal; a second one ends the process at once, which loses nothing either."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def handle_signals() -> None:
    """Let the first Ctrl-C or SIGTERM stop this process in order, and a second one at once."""
    for each in SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # as a shell's background jobs ignore Ctrl-C
            signal.signal(each, _stop)


def interruptible(run: Callable[[Lines], Run]) -> Run:
    """Run with progress shown. Ctrl-C is safe: the same command resumes the run."""
    from latentbench.bench.cli.progress import watcher

    try:
        with only_results_on_stdout(), watcher(err) as watch:
            return run(watch)
    except KeyboardInterrupt as stop:
        _say_how_to_resume()
        raise typer.Exit(EXIT_TERMINATED if isinstance(stop, Terminated) else EXIT_INTERRUPTED) from None


def _say_how_to_resume() -> None:
    # With --fresh, what is finished would be done again.
    again = shlex.join(["latentbench", *(argument for argument in sys.argv[1:] if argument != "--fresh")])
    say(err, f"\ninterrupted; finished cases and trained models are kept. Resume with: {again}")
