"""A device has the number formats of its capability, and tf32 only where it is asked for."""

import pytest
import torch

from latentbench.analysis.performance import number_formats


@pytest.mark.parametrize(
    ("name", "capability", "has"),
    [
        ("fp16", (7, 0), True),
        ("bf16", (7, 5), False),
        ("tf32", (7, 5), False),
        ("tf32", (8, 0), True),
        ("bf16", (9, 0), True),
    ],
)
def test_what_a_cuda_device_has_follows_from_its_capability(name, capability, has):
    reason = number_formats._lacking_on_cuda(name, capability)
    assert (reason is None) == has
    assert has or "compute capability 8.0 or more, this one has 7.5" in reason


def test_tf32_is_for_the_block_alone():
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    with number_formats.in_precision("tf32"):
        assert matmul.allow_tf32
        with number_formats.in_precision("fp32"):
            assert not matmul.allow_tf32
        assert matmul.allow_tf32
    assert matmul.allow_tf32 == before
