"""The reasons why a point of a sweep cannot be measured, found before or during the call."""

from __future__ import annotations

import math

import torch

from latentbench.analysis.performance.memory import free_memory
from latentbench.analysis.performance.number_formats import DTYPES, lacking
from latentbench.analysis.performance.point import SweepPoint
from latentbench.analysis.performance.throughput import held_values
from latentbench.analysis.workloads.candidate import Candidate
from latentbench.analysis.workloads.flops import Count
from latentbench.analysis.workloads.operations import lacking_operation

SHARE_OF_MEMORY = 0.9
"""The share of the free memory that a batch may take on a machine whose kernel kills larger processes."""


class Skip(Exception):
    """A point without a number; the message states the reason."""


def check_possible(candidate: Candidate, point: SweepPoint, device: torch.device) -> None:
    """Raise Skip for an operation, a precision or a layout that this model or this device does not have."""
    training = point.operation == "train_step"
    reasons = (
        lacking_operation(candidate.shadow, point.operation),
        lacking(point.precision, device),
        "training in fp16 needs a scaled loss, which the engine does not support"
        if training and point.precision == "fp16"
        else None,
        "channels-last has no effect: the model has no convolution"
        if point.channels_last and not candidate.has_convolutions
        else None,
    )
    for reason in reasons:
        if reason is not None:
            raise Skip(reason)


def check_duration(least_seconds: float, expected_seconds: float | None, longest_seconds: float) -> None:
    """Raise Skip for a call that would take too long.

    `least_seconds` is what the device needs at its peak, `expected_seconds` what smaller batches took.
    """
    seconds = max(least_seconds, expected_seconds or 0.0)
    if seconds > longest_seconds:
        raise Skip(
            f"a call would take about {seconds:,.0f} s; this preset allows at most {longest_seconds:g} s"
        )


def check_memory(candidate: Candidate, counted: Count, point: SweepPoint, device: torch.device) -> None:
    """Raise MemoryError for a call that does not fit into a CPU's memory: trying it could end the process.

    A CUDA device reports it by itself, so there the call is tried.
    """
    if device.type != "cpu":
        return
    size = DTYPES[point.precision].itemsize
    # A train step adds the gradients, which are counted, and AdamW's two moments.
    weights = (3 if point.operation == "train_step" else 1) * held_values(candidate.shadow) * size
    needed = counted.held_bytes + weights + point.batch * math.prod(candidate.input_shape) * size
    free = free_memory(device)
    if needed > SHARE_OF_MEMORY * free:
        raise MemoryError(f"needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")


def why_impossible(error: Exception, point: SweepPoint) -> str | None:
    """Return the reason why a model cannot run at a point, by its error; None for any other error."""
    if point.compiled and _is_from_compiler(error):
        return "cannot be compiled here"
    if is_format_clash(error):
        return "keeps other number formats inside"
    if _is_batch_too_small(error):
        return "batch normalisation needs more than one image"
    return None


def is_format_clash(error: Exception) -> bool:
    """Return True if a converted model met a tensor of another format; torch says so only in a message."""
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("same dtype", "expected scalar type", "should be the same")
    )


def _is_from_compiler(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to import, and few rows need it

    return isinstance(error, TorchDynamoException)


def _is_batch_too_small(error: Exception) -> bool:
    """Return True if one image is too few to train batch normalisation; torch says so only in a message."""
    return isinstance(error, ValueError) and "more than 1 value per channel" in str(error)
