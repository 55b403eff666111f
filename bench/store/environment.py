"""Where a number came from: the machine, the libraries, the flags, and the code that measured it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic import BaseModel, ConfigDict

PACKAGES = ("numpy", "open_clip_torch", "scikit-learn", "scipy", "torch", "torchvision", "umap-learn")
ROOMS = ("data", "models", "analysis", "bench")


class Code(BaseModel):
    """Which latentbench: its version, the commit where there is a checkout, and a hash of its source."""

    model_config = ConfigDict(frozen=True)

    version: str
    commit: str | None
    dirty: bool | None
    source: str


def environment(device: torch.device, *, threads: int) -> dict[str, Any]:
    """Everything about this machine that can move a number, as JSON-ready values.

    `threads` are those that a model is trained and measured with.
    """
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return {
        "cpu": _cpu_name(),
        "cpu_cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "device": device.type,
        "gpu": gpu.name if gpu else None,
        "gpu_memory_bytes": gpu.total_memory if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {package: metadata.version(package) for package in PACKAGES},
        "threads": threads,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def environment_hash(content: dict[str, Any]) -> str:
    """The name an environment goes by: 12 hex digits of its content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@cache
def code() -> Code:
    """The latentbench that is running."""
    commit, dirty = _checkout()
    return Code(version=metadata.version("latentbench"), commit=commit, dirty=dirty, source=_source_hash())


def _source_hash() -> str:
    """12 hex digits over every file that can move a number: Python and YAML, pictures aside."""
    digest = hashlib.sha256()
    for room in ROOMS:
        folder = _room(room)
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".yaml") and not {"speed", "figures"} & set(path.parts):
                digest.update(f"{room}/{path.relative_to(folder).as_posix()}".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _room(name: str) -> Path:
    """The folder of an installed room, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec(f"latentbench.{name}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _checkout() -> tuple[str | None, bool | None]:
    """Commit and dirtiness of the latentbench checkout we stand in; None where there is none."""
    try:
        root = Path(_git("rev-parse", "--show-toplevel"))
        if 'name = "latentbench"' not in (root / "pyproject.toml").read_text(encoding="utf-8"):
            return None, None
        return _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
