"""Processes that time a command: each gets short turns, and prints the seconds of every turn as JSON."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from latentbench.analysis.performance.contention import busy_seconds
from latentbench.data.errors import LatentbenchError

LONGEST_TURN_SECONDS = 300.0
"""The time limit of a turn; the first turn includes the start of the process."""


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a folder, the command that runs in it, and its PYTHONPATH."""

    name: str
    folder: Path
    command: tuple[str, ...]
    python_path: tuple[Path, ...] = ()
    longest_turn_seconds: float = LONGEST_TURN_SECONDS


@dataclass(frozen=True)
class Sample:
    """The seconds of each turn of one process, by quantity, and the cores that others used meanwhile."""

    turns: tuple[dict[str, float], ...]
    others: float


class TimedProcess:
    """A running command that takes a turn on request; it ends with the `with` block."""

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.turns: list[dict[str, float]] = []
        self.others: list[float] = []
        self._out_of_time = False
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by __exit__
        try:
            self._process = subprocess.Popen(
                arm.command,
                cwd=arm.folder,
                env=_environment(arm),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                encoding="utf-8",
                errors="replace",
                # A separate process group, so that all processes that the command starts end with it.
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise LatentbenchError(
                f"{arm.name}: {shlex.join(arm.command)} cannot be run: {error.strerror}"
            ) from None

    def __enter__(self) -> TimedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._process.communicate()
        self._errors.close()

    def take_turn(self, processes: Sequence[TimedProcess]) -> bool:
        """Take one more turn, and wait for its seconds; False if the process ended after an earlier turn.

        `processes` are those whose work is not counted as that of others. Raises LatentbenchError if
        the command fails, prints something else, or exceeds the time limit.
        """
        watch = _Watch(processes)
        if self.turns:
            self._ask()
        timer = threading.Timer(self.arm.longest_turn_seconds, self._end_for_time)
        timer.start()
        try:
            seconds = self._answer()
        finally:
            timer.cancel()
        if seconds is None:
            return False
        self.turns.append(seconds)
        self.others.append(watch.others())
        return True

    def sample(self) -> Sample:
        """All turns so far."""
        return Sample(tuple(self.turns), statistics.fmean(self.others))

    def spent(self) -> float:
        """Core seconds used so far; 0 for a process that has ended."""
        try:
            return _spent(psutil.Process(self._process.pid).cpu_times())
        except psutil.Error:
            return 0.0

    def _ask(self) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # It has ended; its output is still read.
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def _answer(self) -> dict[str, float] | None:
        """Read the next JSON object that it prints, skipping other lines; None if it ended well after one."""
        assert self._process.stdout
        last = ""
        for line in self._process.stdout:
            last = line.strip() or last
            if last.startswith("{"):
                return _seconds(self.arm, last)
        code = self._process.wait()
        command = shlex.join(self.arm.command)
        if self._out_of_time:
            raise LatentbenchError(
                f"{self.arm.name}: {command} printed no seconds within {self.arm.longest_turn_seconds:g} s"
            )
        if code:
            self._errors.seek(0)
            why = (self._errors.read().strip().splitlines() or ["no message"])[-1]
            raise LatentbenchError(f"{self.arm.name}: {command} failed with exit {code}: {why}")
        return None if self.turns else _seconds(self.arm, last)

    def _end_for_time(self) -> None:
        self._out_of_time = True
        self._kill()

    def _kill(self) -> None:
        with suppress(OSError):  # It has ended.
            os.killpg(self._process.pid, signal.SIGKILL)


class _Watch:
    """Counts the cores that other processes than these and this one use, from now on."""

    def __init__(self, processes: Sequence[TimedProcess]) -> None:
        self._processes = processes
        self._machine, self._busy, self._own = sum(psutil.cpu_times()), busy_seconds(), self._ours()

    def _ours(self) -> float:
        return _spent(psutil.Process().cpu_times()) + sum(process.spent() for process in self._processes)

    def others(self) -> float:
        """Return the number of cores that others kept busy."""
        elapsed = sum(psutil.cpu_times()) - self._machine
        others = (busy_seconds() - self._busy) - (self._ours() - self._own)
        return max(0.0, others) * (os.cpu_count() or 1) / elapsed if elapsed else 0.0


def _spent(times: object) -> float:
    """Return the core seconds of a process and of the processes that it waited for."""
    return sum(getattr(times, name, 0.0) for name in ("user", "system", "children_user", "children_system"))


def _seconds(arm: Arm, line: str) -> dict[str, float]:
    """Parse positive seconds by name from a line of JSON."""
    try:
        content = json.loads(line)
        seconds = {str(name): float(value) for name, value in content.items()}
    except (ValueError, AttributeError, TypeError):
        seconds = {}
    if not seconds or not all(0 < value < math.inf for value in seconds.values()):
        raise LatentbenchError(
            f"{arm.name}: {shlex.join(arm.command)} must print a JSON object of seconds by name, "
            f"got {line[:80]!r}"
        )
    return seconds


def _environment(arm: Arm) -> dict[str, str]:
    """Return the variables of the process: the arm's own code comes first."""
    paths = [*map(str, arm.python_path), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
