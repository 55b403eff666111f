"""Memory of a device: what is free, what a call needs, and how a shortage is told."""

import statistics
import subprocess
import sys

import psutil
import pytest
import torch

from latentbench.analysis.performance.memory import is_out_of_memory, peak_memory

CPU = torch.device("cpu")


def test_impossible_tensor_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


ALLOCATE = """
import sys, torch
from latentbench.analysis.performance.memory import free_memory
device = torch.device("cpu")
before = free_memory(device)
held = torch.ones(int(sys.argv[1]) // 4)
print(before, before - free_memory(device), held.nbytes)
"""


def test_free_memory_falls_by_what_is_allocated():
    """Measured in fresh processes: one that has freed memory before may take less from the system.

    The median of three, because other processes take and free memory meanwhile.
    """
    size = 2**30
    command = [sys.executable, "-c", ALLOCATE, str(size)]
    answers = [
        tuple(map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()))
        for _ in range(3)
    ]
    assert {held for _, _, held in answers} == {size}
    assert statistics.median(taken for _, taken, _ in answers) == pytest.approx(size, rel=0.5)
    assert all(before < psutil.virtual_memory().total for before, _, _ in answers)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_memory_excludes_what_was_there_before():
    device = torch.device("cuda")
    kept = torch.zeros(2**20, device=device)
    assert peak_memory(lambda: kept + 1, device) == kept.nbytes
