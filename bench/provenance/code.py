"""Describes the code that measured: latentbench, and the git repository of the user."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

LAYERS = ("data", "models", "analysis", "bench")
"""The packages of latentbench."""
NOT_MEASURING = ("figures", "speed")
"""Folders inside a package whose code changes no number: drawing, and benchmarks of latentbench itself."""


class Code(BaseModel):
    """The code that measured: latentbench, and the git repository that the command was run in."""

    model_config = ConfigDict(frozen=True)

    version: str
    commit: str | None
    """The commit of latentbench, if it runs from a checkout."""
    dirty: bool | None
    """True if that checkout has uncommitted changes."""
    source: str
    """A hash of latentbench's source."""
    project_commit: str | None = None
    """The commit of the user's repository: the one around the current folder, if it is not latentbench's."""
    project_dirty: bool | None = None
    """True if the user's repository has uncommitted changes."""

    @property
    def run_commit(self) -> str | None:
        """The commit that names a run: of the user's repository, else of latentbench."""
        return self.project_commit or self.commit

    @property
    def commit_label(self) -> str:
        """The first 8 digits of that commit, with `+` if there were uncommitted changes."""
        dirty = self.project_dirty if self.project_commit else self.dirty
        return f"{self.run_commit[:8]}{'+' if dirty else ''}" if self.run_commit else ""


@cache
def code() -> Code:
    """Describe the latentbench that is running, and the repository that it is running in."""
    commit, dirty = _checkout(_folder("bench"), tracked=True)
    project_commit, project_dirty = _checkout(Path.cwd(), tracked=False)
    own = project_commit == commit
    return Code(
        version=metadata.version("latentbench"),
        commit=commit,
        dirty=dirty,
        source=source_hash({layer: _folder(layer) for layer in LAYERS}),
        project_commit=None if own else project_commit,
        project_dirty=None if own else project_dirty,
    )


def source_hash(folders: Mapping[str, Path]) -> str:
    """Return 12 hex digits over every file that can change a number: Python and YAML, not figures."""
    digest = hashlib.sha256()
    for layer, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.suffix in (".py", ".yaml") and not set(NOT_MEASURING) & set(inside.parts):
                digest.update(f"{layer}/{inside.as_posix()}".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def drawing_code() -> str:
    """Return a hash of the code that draws figures, which is no part of what measures."""
    return source_hash({"figures": _folder("analysis.figures")})


def git(*arguments: str, folder: Path | None = None, timeout: float | None = 10) -> str:
    """Run git, in a folder if given, and return its output.

    Raises OSError if git is not installed, subprocess.SubprocessError if it fails or takes too long.
    """
    where = ["-C", str(folder)] if folder else []
    done = subprocess.run(
        ["git", *where, *arguments], capture_output=True, text=True, check=True, timeout=timeout
    )
    return done.stdout.strip()


def _folder(layer: str) -> Path:
    """Find the folder of an installed package without importing it."""
    from importlib.util import find_spec

    spec = find_spec(f"latentbench.{layer}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve().parent


def _checkout(folder: Path, *, tracked: bool) -> tuple[str | None, bool | None]:
    """Return the commit of the repository around a folder and whether it is dirty; None if there is none.

    With `tracked`, only a repository that contains files of the folder counts: the repository around a
    virtual environment does not describe the packages installed in it.
    """
    try:
        if tracked and not git("ls-files", "--", ".", folder=folder):
            return None, None
        commit = git("rev-parse", "HEAD", folder=folder)
        return commit, bool(git("status", "--porcelain", "--untracked-files=no", folder=folder))
    except (OSError, subprocess.SubprocessError):
        return None, None
