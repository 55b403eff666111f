"""Describes the machine, the libraries and the flags that a number was measured with.

Nothing here imports torch before `environment` is called, so that results can be read without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import torch

PACKAGES = ("numpy", "open_clip_torch", "scikit-learn", "scipy", "torch", "torchvision", "umap-learn")


def environment(device: torch.device) -> dict[str, Any]:
    """Return everything about this machine that can change a number, as JSON-ready values.

    The number of threads is not included, so that results of any number of workers can be compared; each
    record states its own.
    """
    import torch

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
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def environment_hash(content: dict[str, Any]) -> str:
    """Return the name of an environment: 12 hex digits of its content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
