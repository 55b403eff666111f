"""Memory of a device: what is free, what a call needs, and how a shortage is told."""

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
    """Measured in a fresh process: one that has freed memory before may take less from the system."""
    size = 2**29
    command = [sys.executable, "-c", ALLOCATE, str(size)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, taken, held = map(int, answer.split())
    assert held == size
    assert taken == pytest.approx(size, rel=0.5)
    assert before < psutil.virtual_memory().total


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_memory_excludes_what_was_there_before():
    device = torch.device("cuda")
    kept = torch.zeros(2**20, device=device)
    assert peak_memory(lambda: kept + 1, device) == kept.nbytes
