"""The number formats that a model may be run in, and which of them a device has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""What weights and activations are kept in; tf32 is float32 whose products are rounded."""

AMPERE = (8, 0)
"""The compute capability from which on there are tf32 and bf16."""


def lacking(precision: Precision, device: torch.device) -> str | None:
    """Why a device cannot run in a precision at more than an emulation's speed; None where it can."""
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
    """fp16 is everywhere; tf32 and bf16 came with Ampere."""
    if precision == "fp16" or capability >= AMPERE:
        return None
    return "a CUDA device has {} from compute capability {}.{} on, this one is {}.{}".format(
        precision, *AMPERE, *capability
    )


@contextmanager
def in_precision(precision: Precision) -> Iterator[None]:
    """Let float32 products on CUDA be rounded to tf32 for that precision alone, whatever was set before."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
