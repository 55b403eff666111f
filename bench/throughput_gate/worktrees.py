"""Two worktrees of the current repository, baseline and head, and the command that is timed in both."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from latentbench.bench.provenance.code import LAYERS, git
from latentbench.bench.throughput_gate.processes import Arm
from latentbench.data.errors import LatentbenchError

IMPORTS = ".latentbench-import"
"""A folder in a tree through which its packages are imported as `latentbench`, installed or not."""


@contextmanager
def arms(against: str, command: str | None) -> Iterator[dict[str, Arm]]:
    """Create baseline (twice, as A and A′) and head (B): worktrees that are removed afterwards.

    Head is the working tree with its uncommitted changes. Raises LatentbenchError outside of a repository,
    for an unknown revision, and without a command if the repository is not latentbench. SIGTERM removes
    the worktrees too.
    """
    root = Path(_git("rev-parse", "--show-toplevel"))
    commit = _git(
        "rev-parse", "--verify", "--quiet", f"{against}^{{commit}}", problem=f"unknown revision {against!r}"
    )
    given = _words(command) if command is not None else None
    with _sigterm_as_exception(), tempfile.TemporaryDirectory(prefix="latentbench-") as folder:
        trees = {"baseline": Path(folder) / "baseline", "head": Path(folder) / "head"}
        try:
            for name, tree in trees.items():
                _git("worktree", "add", "--detach", str(tree), commit if name == "baseline" else "HEAD")
            _copy_changes(root, trees["head"])
            chosen = given or _own_command(trees["head"])
            baseline, head = (_arm(name, tree, chosen) for name, tree in trees.items())
            yield {"A": baseline, "A′": baseline, "B": head}
        finally:
            for tree in trees.values():
                subprocess.run(["git", "worktree", "remove", "--force", str(tree)], capture_output=True)


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    """Turn SIGTERM into SystemExit inside the block, so that `finally` and `with` clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise LatentbenchError(f"--command {command!r}: {error}") from None
    if not words:
        raise LatentbenchError("--command is empty; give the program that prints the seconds")
    return words


def _own_command(tree: Path) -> tuple[str, ...]:
    script = tree / "bench" / "throughput_gate" / "timed_workload.py"
    if not script.is_file():
        raise LatentbenchError(
            "this repository is not latentbench: name the program to time with --command; it runs in both "
            'worktrees, and prints seconds as JSON, such as {"train_step_seconds": 0.012}'
        )
    # Head's script in both trees, by its path: the baseline may not have one yet.
    return (sys.executable, "-P", str(script))


def _arm(name: str, tree: Path, command: tuple[str, ...]) -> Arm:
    """Return the arm of a tree, whose own code is imported before any installed one."""
    package = tree / IMPORTS / "latentbench"
    package.mkdir(parents=True)
    if all((tree / layer / "__init__.py").is_file() for layer in LAYERS):
        for layer in LAYERS:
            (package / layer).symlink_to(tree / layer)
    return Arm(name, tree, command, (tree / IMPORTS, tree, tree / "src"))


def _copy_changes(root: Path, tree: Path) -> None:
    """Apply the uncommitted changes of tracked files to a worktree."""
    difference = subprocess.run(
        ["git", "diff", "--binary", "HEAD"], cwd=root, capture_output=True, check=True
    )
    if difference.stdout:
        subprocess.run(["git", "apply", "--whitespace=nowarn"], cwd=tree, input=difference.stdout, check=True)


def _git(*arguments: str, problem: str = "") -> str:
    try:
        return git(*arguments, timeout=None)
    except FileNotFoundError:
        raise LatentbenchError("git is needed for --throughput, and is not installed") from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())
        raise LatentbenchError(problem or f"git {' '.join(arguments[:2])}: {said}") from None
