"""The devices that latentbench computes on, by name."""

from __future__ import annotations

import torch

from latentbench.data.errors import LatentbenchError

ALLOWED = "auto, cpu, cuda, cuda:N"


def find_device(name: str | torch.device) -> torch.device:
    """Return the device of that name; `auto` is CUDA if there is one. Raises LatentbenchError.

    >>> find_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise LatentbenchError(f"unknown device {name!r}; allowed: {ALLOWED}") from None
    if device.type not in ("cpu", "cuda"):
        raise LatentbenchError(f"device '{device}' is not supported; allowed: {ALLOWED}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise LatentbenchError(
            f"device '{device}': this machine has {torch.cuda.device_count()} CUDA devices"
        )
    return device
