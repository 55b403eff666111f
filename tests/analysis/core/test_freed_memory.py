"""Freed memory is reused, and small results between large temporary tensors do not make the process grow."""

import subprocess
import sys

import pytest
import torch

from latentbench.analysis.core.freed_memory import tidied
from latentbench.bench.studies.memory import own_memory


def grown(image_shape):
    """Measure the bytes by which the process grows over 40 batches that keep 400 bytes each."""
    kept, before = [], own_memory()
    for batch in tidied([torch.zeros(1)] * 40, image_shape):
        temporary = [torch.ones(1_000_000 + 250_000 * index) + batch for index in range(4)]
        kept += [each[:100].clone() for each in temporary]
        del temporary
    return own_memory() - before


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc returns memory on request")
def test_batches_of_large_images_leave_no_memory_behind():
    grown((3, 128, 128))  # the first batches make the C library keep what is freed
    assert grown((3, 128, 128)) < 4e6


def test_every_batch_comes_once_and_in_order():
    batches = list(torch.arange(10).split(3))
    for shape in ((1, 8, 8), (3, 256, 256)):
        assert [batch.tolist() for batch in tidied(batches, shape)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


FAULTS = """
import resource, torch
from latentbench.analysis.core.freed_memory import reuse_freed_memory
torch.set_num_threads(1)
{}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(5_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told to reuse memory")
def test_memory_of_one_call_is_reused_by_the_next():
    """Ten tensors of 20 MB are 49,000 pages of 4 kB, each of which the system would clear."""
    program = FAULTS.format("reuse_freed_memory()")
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 5_000
