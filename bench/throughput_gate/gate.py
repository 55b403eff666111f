"""Is head slower than a baseline? Processes of both in turn on one machine, decided by paired ratios.

The replicate is a process, not an iteration: what makes two processes differ never shows within one. A
block is A A′ B B A′ A, where A and A′ are both the baseline and B is head, so that whatever drifts
steadily cancels. The six processes of a block live side by side and are given short turns in that order,
again and again, one at a time, so that drift has seconds and not minutes to act in. Of each block there
are two logarithmic ratios, B to the baseline's four, and A′ to A, each the median over the rounds of
turns; the latter is what the machine does to two runs of one and the same code. Both get an interval over
the blocks, and a loss counts only if its interval excludes 0 and it exceeds the larger of 3 % and the A/A
noise floor: the farther end of the A/A interval.

A command prints a JSON object of seconds by name. One that then waits for a line on its standard input, and
prints another object for each, is given turns; one that ends has had its only one.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from latentbench.bench.compare.multiplicity import holm
from latentbench.bench.compare.policy import Policy, Verdict
from latentbench.bench.compare.significance import Evidence, paired_t
from latentbench.bench.compare.verdicts import Comparison, Decided, Why
from latentbench.bench.store.environment import LAYERS, git
from latentbench.data.errors import LatentbenchError

ORDER = ("A", "A′", "B", "B", "A′", "A")
SMALLEST_LOSS = 0.03
BLOCKS = 5
TURNS = 12
"""Of each process, at most."""
DISTURBED = 0.25
"""Of one core, used by others while a process was timed: enough to be said."""


@dataclass(frozen=True)
class Arm:
    """What is timed: a folder, and the command that is run in it."""

    name: str
    folder: Path
    command: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """What one process said at each of its turns, and how much of a core others used meanwhile."""

    turns: tuple[dict[str, float], ...]
    others: float


@dataclass(frozen=True)
class Blocks:
    """All samples of a session: a dict for each block, of both samples of each arm."""

    samples: tuple[dict[str, list[Sample]], ...]

    @property
    def _every(self) -> list[Sample]:
        return [sample for block in self.samples for arm in block.values() for sample in arm]

    @property
    def quantities(self) -> list[str]:
        """What was timed at every turn of every process."""
        turns = [turn for sample in self._every for turn in sample.turns]
        return [name for name in turns[0] if all(name in turn for turn in turns)]

    def logs(self, arm: str, quantity: str) -> np.ndarray:
        """The mean logarithm of an arm's two processes `[blocks, turns]`, as far as all had a turn."""
        turns = min(len(sample.turns) for sample in self._every)
        return np.array(
            [
                [
                    statistics.fmean(math.log(sample.turns[turn][quantity]) for sample in block[arm])
                    for turn in range(turns)
                ]
                for block in self.samples
            ]
        )

    @property
    def disturbed(self) -> tuple[int, int]:
        """How many processes others disturbed, and how many there were."""
        return sum(sample.others > DISTURBED for sample in self._every), len(self._every)


@dataclass(frozen=True)
class Loss:
    """One quantity: what head lost, and what the same code lost against itself, as logarithmic ratios."""

    quantity: str
    seconds: float
    """The baseline's."""
    loss: Evidence
    noise: Evidence

    @property
    def floor(self) -> float:
        """The A/A noise floor: the farther end of the A/A interval."""
        return max(abs(self.noise.low), abs(self.noise.high))

    @property
    def smallest(self) -> float:
        """The smallest loss that counts here."""
        return max(math.log1p(SMALLEST_LOSS), self.floor)


def time_blocks(
    arms: dict[str, Arm], blocks: int, *, progress: Callable[[int, int], None] | None = None
) -> Blocks:
    """Run every block's processes, one at a time; `progress` is told how many turns are over, of how many.

    Raises LatentbenchError where a command fails or does not print what it should.
    """
    samples = []
    for block in range(blocks):
        done = block * len(ORDER) * TURNS

        def so_far(turns: int, done: int = done) -> None:
            if progress:
                progress(done + turns, blocks * len(ORDER) * TURNS)

        samples.append(_block(arms, so_far))
    return Blocks(tuple(samples))


def _block(arms: dict[str, Arm], progress: Callable[[int], None]) -> dict[str, list[Sample]]:
    with ExitStack() as stack:
        # A process has its first turn, and warms up, before the next one is started.
        players: list[Player] = []
        for name in ORDER:
            players.append(stack.enter_context(Player(arms[name])))
            players[-1].take_turn(players)
            progress(len(players))
        for turn in range(1, TURNS):
            played = [player.take_turn(players) for player in players]
            if not all(played):
                break
            progress((turn + 1) * len(players))
        progress(TURNS * len(players))
        taken: dict[str, list[Sample]] = {name: [] for name in ORDER}
        for name, player in zip(ORDER, players, strict=True):
            taken[name].append(player.sample())
        return taken


def losses(blocks: Blocks, *, alpha: float) -> list[Loss]:
    """Each quantity's loss and noise over the blocks."""
    found = []
    for quantity in blocks.quantities:
        a, again, b = (blocks.logs(name, quantity) for name in ("A", "A′", "B"))
        baseline = (a + again) / 2
        found.append(
            Loss(
                quantity,
                math.exp(float(baseline.mean())),
                paired_t(np.median(b - baseline, axis=1), alpha=alpha, sample="blocks"),
                paired_t(np.median(again - a, axis=1), alpha=alpha, sample="blocks"),
            )
        )
    return found


def decide(blocks: Blocks, policy: Policy, *, a: str, b: str) -> Comparison:
    """The verdicts, corrected for the number of quantities."""
    found = losses(blocks, alpha=policy.alpha)
    adjusted = holm([loss.loss.p for loss in found])
    findings = [
        _finding(loss, float(p), policy.alpha, len(found)) for loss, p in zip(found, adjusted, strict=True)
    ]
    notes = [
        f"{loss.quantity}: the same code differed from itself by up to {math.expm1(loss.floor):.1%} here"
        for loss in found
    ]
    disturbed, count = blocks.disturbed
    if disturbed:
        notes.append(f"{disturbed} of {count} processes shared the machine with other work")
    return Comparison(a, b, tuple(findings), policy, "Holm", tuple(notes))


def _finding(loss: Loss, p: float, alpha: float, tests: int) -> Decided:
    """The loss in seconds, as the rest of a comparison is in a metric's unit."""

    def seconds(logarithm: float) -> float:
        return math.expm1(logarithm) * loss.seconds

    evidence = replace(
        loss.loss,
        harm=seconds(loss.loss.harm),
        low=seconds(loss.loss.low),
        high=seconds(loss.loss.high),
        spread=loss.loss.spread * loss.seconds,
    )
    return Decided(
        model="throughput",
        metric=loss.quantity,
        verdict=_verdict(loss, p, alpha),
        why=Why.TESTED,
        a=loss.seconds,
        b=loss.seconds + evidence.harm,
        better="lower",
        smallest_effect=seconds(loss.smallest),
        evidence=evidence,
        in_family=True,
        p_adjusted=p,
        alpha=alpha,
        tests=tests,
    )


def _verdict(loss: Loss, p: float, alpha: float) -> Verdict:
    if p <= alpha and loss.loss.low > 0 and loss.loss.harm > loss.smallest:
        return "regressed"
    return "ok" if loss.loss.high < loss.smallest else "inconclusive"


# One process


class Player:
    """A process of an arm that is given turns until it is left."""

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.turns: list[dict[str, float]] = []
        self.others: list[float] = []
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            arm.command,
            cwd=arm.folder,
            env=_environment(arm.folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def take_turn(self, players: Sequence[Player]) -> bool:
        """Wait for one more object of seconds; False if the process ended after an earlier one."""
        clock = _Clock(players)
        if self.turns:
            self._ask()
        seconds = self._answer()
        if seconds is None:
            return False
        self.turns.append(seconds)
        self.others.append(clock.others())
        return True

    def sample(self) -> Sample:
        """All its turns."""
        return Sample(tuple(self.turns), statistics.fmean(self.others))

    def _ask(self) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            # It ended, and what it still says is read all the same.
            pass

    def _answer(self) -> dict[str, float] | None:
        """The next object it prints; other lines are its own affair. None if it ended well after one."""
        assert self._process.stdout
        last = ""
        for line in self._process.stdout:
            last = line.strip() or last
            if last.startswith("{"):
                return _seconds(self.arm, last)
        if self._process.wait():
            self._errors.seek(0)
            why = (self._errors.read().strip().splitlines() or ["no message"])[-1]
            raise LatentbenchError(
                f"{self.arm.name}: {shlex.join(self.arm.command)} failed with exit "
                f"{self._process.returncode}: {why}"
            )
        return None if self.turns else _seconds(self.arm, last)

    def spent(self) -> float:
        """Core seconds it used so far; none are known of one that has ended."""
        try:
            return _spent(psutil.Process(self._process.pid).cpu_times())
        except psutil.Error:
            return 0.0


class _Clock:
    """How much of a core is used, from now on, by others than these processes and this one."""

    def __init__(self, players: Sequence[Player]) -> None:
        self._players = players
        self._machine, self._own = psutil.cpu_times(), self._ours()

    def _ours(self) -> float:
        return _spent(psutil.Process().cpu_times()) + sum(player.spent() for player in self._players)

    def others(self) -> float:
        machine, own = psutil.cpu_times(), self._ours()
        elapsed = sum(machine) - sum(self._machine)
        others = _busy(machine) - _busy(self._machine) - (own - self._own)
        return max(0.0, others) * (psutil.cpu_count() or 1) / elapsed if elapsed else 0.0


def _busy(times: object) -> float:
    """Core seconds in which the machine was not idle, and those that a hypervisor took."""
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def _spent(times: object) -> float:
    """Core seconds of a process and of those it waited for."""
    return sum(getattr(times, name, 0.0) for name in ("user", "system", "children_user", "children_system"))


def _seconds(arm: Arm, line: str) -> dict[str, float]:
    """A JSON object of positive seconds by name."""
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


def _environment(folder: Path) -> dict[str, str]:
    """The process's own code comes first: the tree's `latentbench` where it is one, and the tree itself."""
    paths = [str(folder / SHIM), str(folder), str(folder / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


# Two trees

SHIM = ".latentbench-import"


@contextmanager
def arms(against: str, command: str | None) -> Iterator[dict[str, Arm]]:
    """Baseline and head: worktrees of the repository we stand in, gone afterwards.

    Head is the working tree as it is, with what is not committed yet. Raises LatentbenchError outside of
    a repository, for an unknown revision, and without a command where the repository is not latentbench.
    """
    root = Path(_git("rev-parse", "--show-toplevel"))
    commit = _git(
        "rev-parse", "--verify", "--quiet", f"{against}^{{commit}}", what=f"unknown revision {against!r}"
    )
    with tempfile.TemporaryDirectory(prefix="latentbench-") as folder:
        trees = {"A": Path(folder) / "baseline", "B": Path(folder) / "head"}
        try:
            for name, tree in trees.items():
                _git("worktree", "add", "--detach", str(tree), commit if name == "A" else "HEAD")
            _copy_changes(root, trees["B"])
            chosen = tuple(shlex.split(command)) if command else _own_command(trees["B"])
            for tree in trees.values():
                _make_importable(tree)
            yield {
                "A": Arm("baseline", trees["A"], chosen),
                "A′": Arm("baseline", trees["A"], chosen),
                "B": Arm("head", trees["B"], chosen),
            }
        finally:
            for tree in trees.values():
                subprocess.run(["git", "worktree", "remove", "--force", str(tree)], capture_output=True)


def _own_command(tree: Path) -> tuple[str, ...]:
    script = tree / "bench" / "throughput_gate" / "timed_workload.py"
    if not script.is_file():
        raise LatentbenchError(
            "this repository is not latentbench: say what to time with --command; it is run in both "
            'worktrees, and prints seconds as JSON, such as {"train_step_seconds": 0.012}'
        )
    # Head's stopwatch in both, by its path: the baseline may not have one yet.
    return (sys.executable, "-P", str(script))


def _make_importable(tree: Path) -> None:
    """latentbench's packages are found under its name in any tree that has them, installed or not."""
    package = tree / SHIM / "latentbench"
    package.mkdir(parents=True)
    if all((tree / room / "__init__.py").is_file() for room in LAYERS):
        for room in LAYERS:
            (package / room).symlink_to(tree / room)


def _copy_changes(root: Path, tree: Path) -> None:
    """What is changed and not committed, untracked files aside."""
    difference = subprocess.run(
        ["git", "diff", "--binary", "HEAD"], cwd=root, capture_output=True, check=True
    )
    if difference.stdout:
        subprocess.run(["git", "apply", "--whitespace=nowarn"], cwd=tree, input=difference.stdout, check=True)


def _git(*arguments: str, what: str = "") -> str:
    try:
        return git(*arguments, timeout=None)
    except FileNotFoundError:
        raise LatentbenchError("git is needed for --throughput, and is not installed") from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())
        raise LatentbenchError(what or f"git {' '.join(arguments[:2])}: {said}") from None


def gate(
    against: str,
    policy: Policy,
    *,
    command: str | None = None,
    blocks: int = BLOCKS,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Time the working tree against a revision, and decide."""
    with arms(against, command) as both:
        return decide(time_blocks(both, blocks, progress=progress), policy, a=against, b="the working tree")
