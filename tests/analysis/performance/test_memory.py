"""Memory of a device: what is free, what a call needs, and how a shortage is told."""

import psutil
import pytest
import torch

from latentbench.analysis.performance.memory import free_memory, is_out_of_memory, peak_memory

CPU = torch.device("cpu")


def test_impossible_tensor_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_free_memory_falls_by_what_is_allocated():
    """Other processes come and go, so the best of several tries counts."""
    size = 2**29
    taken = []
    for _ in range(5):
        before = free_memory(CPU)
        held = torch.ones(size // 4)
        taken.append(before - free_memory(CPU))
        assert held.nbytes == size
        del held
    assert min(abs(each - size) for each in taken) < 0.5 * size
    assert before < psutil.virtual_memory().total


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_memory_excludes_what_was_there_before():
    device = torch.device("cuda")
    kept = torch.zeros(2**20, device=device)
    assert peak_memory(lambda: kept + 1, device) == kept.nbytes
