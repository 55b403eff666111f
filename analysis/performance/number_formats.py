"""The number formats that a model may be run in, and which of them a device supports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from latentbench.analysis.performance.point import Precision

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""The format of weights and activations; tf32 is float32 whose products are rounded."""

AMPERE = (8, 0)
"""The first compute capability with tf32 and bf16."""


def lacking(precision: Precision, device: torch.device) -> str | None:
    """Return the reason why a device cannot run in a precision without slow emulation; None if it can."""
    if precision == "fp32":
        return None
    if device.type == "cuda":
        return _lacking_on_cuda(precision, torch.cuda.get_device_capability(device))
    if precision == "tf32":
        return "tf32 is a mode of CUDA devices"
    supported = {
        "bf16": torch.ops.mkldnn._is_mkldnn_bf16_supported,
        "fp16": torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }[precision]()
    return None if supported else f"this processor has no {precision} arithmetic"


def _lacking_on_cuda(precision: Precision, capability: tuple[int, int]) -> str | None:
    """Return the reason why a GPU lacks a precision: all have fp16, those since Ampere have tf32 and bf16."""
    if precision == "fp16" or capability >= AMPERE:
        return None
    return "{} needs a CUDA device of compute capability {}.{} or more, this one has {}.{}".format(
        precision, *AMPERE, *capability
    )


@contextmanager
def in_precision(precision: Precision) -> Iterator[None]:
    """Round float32 products on CUDA to tf32 inside the block exactly where the precision is tf32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
