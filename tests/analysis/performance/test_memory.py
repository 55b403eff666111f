"""Memory of a device: what is free, what a call needs, and how a shortage is told."""

import re
from pathlib import Path

import psutil
import pytest
import torch

from latentbench.analysis.performance.memory import (
    free_in_container,
    free_memory,
    is_out_of_memory,
    peak_memory,
)

CPU = torch.device("cpu")


def test_impossible_tensor_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def available_to_the_system() -> int:
    """Return the bytes that Linux calls available, or the limit of a container if that is less."""
    kibibytes = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    available, limited = int(kibibytes[1]) * 1024, free_in_container()
    return available if limited is None else min(available, limited)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="this system has no /proc/meminfo")
def test_free_memory_is_what_the_system_has_available():
    """Between what the system says just before and after, because other processes take memory meanwhile."""
    before, free, after = available_to_the_system(), free_memory(CPU), available_to_the_system()
    assert 0.9 * min(before, after) < free < 1.1 * max(before, after)
    assert free < psutil.virtual_memory().total


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_memory_excludes_what_was_there_before():
    device = torch.device("cuda")
    kept = torch.zeros(2**20, device=device)
    assert peak_memory(lambda: kept + 1, device) == kept.nbytes
