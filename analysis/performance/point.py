"""One model at one point of a sweep: an operation at a batch size, in a precision, laid out and compiled so.

Counted first (operations, bytes moved, bytes held), then timed, and held against what the device can do.
What cannot be measured at a point says why: the device lacks the precision, the batch does not fit, the
model has no decoder, a call would outlast the patience of the sweep.
"""

from __future__ import annotations

import copy
import gc
import math
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from latentbench.analysis.core.metric import Better, Metric, MetricDefinition, define
from latentbench.analysis.performance.flops import Count, count
from latentbench.analysis.performance.memory import free_memory, is_out_of_memory, peak_memory
from latentbench.analysis.performance.number_formats import DTYPES, Precision, in_precision, lacking
from latentbench.analysis.performance.roofline import Ceilings
from latentbench.analysis.performance.throughput import PARAMETERS, held_values
from latentbench.analysis.performance.timing import LEAST_FOR_P95, LEAST_FOR_P99, Effort, Timing, timed
from latentbench.analysis.performance.workloads import (
    Operation,
    Workload,
    inference,
    lacking_operation,
    objective,
    train_step,
)
from latentbench.models.family import GradientFamily

Outcome = Literal["ok", "skipped", "out_of_memory", "failed"]

SHARE_OF_MEMORY = 0.9
"""Of the free memory, that a batch may take on a machine whose kernel kills what takes more."""


class Point(BaseModel):
    """Where in a sweep: everything beside the model that moves its speed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: Operation
    batch: Annotated[int, Field(ge=1, strict=True)]
    precision: Precision = "fp32"
    channels_last: bool = False
    compiled: bool = False

    @property
    def label(self) -> str:
        """Such as `encode ×64 bf16 channels-last`."""
        return f"{self.operation.replace('_', ' ')} ×{self.batch} {self.way}"

    @property
    def way(self) -> str:
        """How the model is run, such as `bf16 channels-last compiled`."""
        return self.precision + " channels-last" * self.channels_last + " compiled" * self.compiled


@dataclass(frozen=True)
class Patience:
    """How long a row may take: the effort of its timing, and the longest call that is worth waiting for."""

    effort: Effort
    longest_call_seconds: float


@dataclass(frozen=True)
class RowResult:
    """What came of a point: metrics in the order of `SWEEP_METRICS`, all null where there is a reason."""

    outcome: Outcome
    metrics: tuple[Metric, ...]
    reason: str | None = None


def _define(
    name: str,
    unit: str,
    better: Better,
    title: str,
    heading: str,
    *,
    decimals: int = 3,
    tolerance: float = 0.25,
    headline: bool = False,
    version: int = 1,
) -> MetricDefinition:
    return define(
        name,
        unit=unit,
        better=better,
        title=title,
        version=version,
        heading=heading,
        decimals=decimals,
        tolerance=tolerance,
        headline=headline,
    )


RATE = _define(
    "examples_per_second",
    "examples/s",
    "higher",
    "Images, or captions, done per second in batches of the row's size: batch over the median latency.",
    "examples/s",
    decimals=1,
    headline=True,
)
LATENCY = _define(
    "latency_seconds",
    "s",
    "lower",
    "Seconds from the start of a call on a batch to the end of its work, median.",
    "latency",
    decimals=6,
    headline=True,
)
LATENCY_P95 = _define(
    "latency_p95_seconds", "s", "lower", "Seconds that 95 % of the calls stay within.", "p95", decimals=6
)
LATENCY_P99 = _define(
    "latency_p99_seconds", "s", "lower", "Seconds that 99 % of the calls stay within.", "p99", decimals=6
)
PEAK_MEMORY = _define(
    "call_memory_bytes",
    "bytes",
    "lower",
    "Peak device memory of one call, beyond what the model and its input take.",
    "memory",
    decimals=0,
)
FLOPS = _define(
    "flops_per_example",
    "FLOP",
    "lower",
    "Floating-point operations of one example, two for a multiplication with an addition; counted.",
    "FLOP",
    decimals=0,
    tolerance=0.0,
)
MOVED = _define(
    "moved_bytes",
    "bytes",
    "lower",
    "Bytes that the operators of a call read and write, each for itself, with no cache; counted.",
    "moved",
    decimals=0,
    tolerance=0.0,
)
HELD = _define(
    "held_bytes",
    "bytes",
    "lower",
    "Bytes of the tensors alive at once in a call, beyond the model and its input; counted.",
    "held",
    decimals=0,
    tolerance=0.0,
)
FLOPS_RATE = _define(
    "flops_per_second", "FLOP/s", "higher", "Floating-point operations done per second.", "FLOP/s", decimals=0
)
SHARE_OF_PEAK = _define(
    "share_of_peak",
    "fraction",
    "higher",
    "Floating-point operations per second over the most that the device itself reaches.",
    "of peak",
    headline=True,
    version=2,
)
BYTES_RATE = _define(
    "bytes_per_second", "bytes/s", "higher", "Bytes moved, as counted, per second.", "bytes/s", decimals=0
)
SHARE_OF_BANDWIDTH = _define(
    "share_of_bandwidth",
    "fraction",
    "higher",
    "Bytes moved per second over those of the device's own large copy; beyond 1 where data stay in a cache.",
    "of bandwidth",
)
PEAK_FLOPS = _define(
    "peak_flops_per_second",
    "FLOP/s",
    "neither",
    "What the device reaches in a large matrix product or convolution of the row's precision.",
    "peak",
    decimals=0,
    version=2,
)
BANDWIDTH = _define(
    "bandwidth_bytes_per_second",
    "bytes/s",
    "neither",
    "What the device reads and writes in a large copy.",
    "bandwidth",
    decimals=0,
)
INPUT_RATIO = _define(
    "input_ratio",
    "ratio",
    "neither",
    "Numbers in an image for each number of its code: how much smaller the code is.",
    "smaller by",
    decimals=1,
    tolerance=0.0,
)
SWEEP_METRICS = (
    RATE,
    LATENCY,
    LATENCY_P95,
    LATENCY_P99,
    PARAMETERS,
    PEAK_MEMORY,
    FLOPS,
    MOVED,
    HELD,
    FLOPS_RATE,
    SHARE_OF_PEAK,
    BYTES_RATE,
    SHARE_OF_BANDWIDTH,
    PEAK_FLOPS,
    BANDWIDTH,
    INPUT_RATIO,
)


# What is held against what


@dataclass(frozen=True)
class Place:
    """The device of a sweep, what it can do at its best, and how patient the sweep is."""

    device: torch.device
    ceilings: Ceilings
    patience: Patience


class Skip(Exception):
    """A point that has no number, and why."""


class Candidate:
    """A model to be put through a sweep: built once, kept in the one format that was asked for last."""

    def __init__(self, build: Callable[[], nn.Module], input_shape: tuple[int, ...], latent_dim: int) -> None:
        self.build = build
        self.input_shape = input_shape
        self.latent_dim = latent_dim
        self._original: nn.Module | None = None
        self._kept: tuple[object, nn.Module] | None = None
        with torch.device("meta"):
            self.shadow = build()
        """The same on the meta device: its shapes without its weights."""

    @property
    def has_convolutions(self) -> bool:
        """Whether the order of channels in memory matters."""
        return any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in self.shadow.modules())

    def workload(self, point: Point, device: torch.device) -> Workload:
        """The model as a point has it. A step of training keeps float32 weights and changes them."""
        training = point.operation == "train_step"
        dtype = torch.float32 if training else DTYPES[point.precision]
        key = (training, training and point.compiled, dtype, point.channels_last, device)
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            self._original = self._original or self.build()
            model = copy.deepcopy(self._original).to(device=device, dtype=dtype)
            if point.channels_last:
                model = model.to(memory_format=torch.channels_last)
            self._kept = key, model
        return self._workload(
            self._kept[1], "fp32" if training else point.precision, device, point.channels_last
        )

    def _workload(
        self, model: nn.Module, precision: Precision, device: torch.device, channels_last: bool = False
    ) -> Workload:
        return Workload(model, self.input_shape, self.latent_dim, precision, device, channels_last)

    def counted(self, point: Point) -> Count:
        """What a call at a point computes, moves and holds.

        Raises whatever the model does where tensors have shapes alone.
        """
        meta = torch.device("meta")
        if point.operation == "train_step":
            if not isinstance(self.shadow, GradientFamily):
                raise TypeError("only a model that the engine trains can be counted in training")
            shadow = self._workload(self.shadow.float(), "fp32", meta)
            return count(objective(shadow, point.batch), gradients=True)
        shadow = self._workload(self.shadow.to(DTYPES[point.precision]), point.precision, meta)
        return count(inference(shadow, point.operation, point.batch, compiled=False))

    def forget_all(self) -> None:
        """Let go of the weights altogether: the next model needs the room."""
        self._original = None
        self.forget()

    def forget(self) -> None:
        """Let go of the format kept, and of the memory behind it."""
        self._kept = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def measure(
    candidate: Candidate, point: Point, place: Place, *, expected_seconds: float | None = None
) -> RowResult:
    """Count and time a model at a point.

    `expected_seconds` is what a call should take by the batches before it. Raises nothing but
    KeyboardInterrupt: what goes wrong is the row's outcome and reason.
    """
    counted: Count | str
    try:
        _check_possible(candidate, point, place.device)
        counted = _try_to_count(candidate, point)
        _check_patience(counted, point, place, expected_seconds)
        _check_memory(candidate, counted, point, place.device)
        timing, memory = _time(candidate, point, place)
        return RowResult("ok", _metrics(candidate, point, place.ceilings, timing, counted, memory))
    except Skip as skip:
        return without_numbers("skipped", str(skip))
    except MemoryError as error:
        return without_numbers("out_of_memory", _one_line(error))
    except Exception as error:
        # The frames of the failed call hold its tensors, which the next row needs the room of.
        traceback.clear_frames(error.__traceback__)
        candidate.forget()
        if (lacks := _why_impossible(error, point)) is not None:
            return without_numbers("skipped", f"{lacks}: {_one_line(error)}")
        outcome: Outcome = "out_of_memory" if is_out_of_memory(error) else "failed"
        return without_numbers(outcome, f"{type(error).__name__}: {_one_line(error)}")
    finally:
        if point.compiled:
            torch._dynamo.reset()


def _check_possible(candidate: Candidate, point: Point, device: torch.device) -> None:
    """Raise Skip for what this model or this device does not have."""
    training = point.operation == "train_step"
    reasons = (
        lacking_operation(candidate.shadow, point.operation),
        lacking(point.precision, device),
        "training in fp16 needs its loss scaled, which the engine does not do"
        if training and point.precision == "fp16"
        else None,
        "no convolution in it, so nothing to lay out"
        if point.channels_last and not candidate.has_convolutions
        else None,
    )
    for reason in reasons:
        if reason is not None:
            raise Skip(reason)


def _try_to_count(candidate: Candidate, point: Point) -> Count | str:
    """The count, or why there is none: a model may look at values, which shapes alone do not have."""
    try:
        return candidate.counted(point)
    except Exception as error:
        if _is_format_clash(error):
            raise
        return f"not counted: {type(error).__name__}: {_one_line(error)}"


def _check_patience(counted: Count | str, point: Point, place: Place, expected: float | None) -> None:
    """Raise Skip for a call that would take too long: going by smaller batches, or at the device's peak."""
    least = 0.0
    if isinstance(counted, Count):
        least = counted.flops / place.ceilings.flops_per_second[point.precision]
    seconds, longest = max(least, expected or 0.0), place.patience.longest_call_seconds
    if seconds > longest:
        raise Skip(f"a call would take about {seconds:,.0f} s; this preset waits {longest:g} s for one")


def _check_memory(candidate: Candidate, counted: Count | str, point: Point, device: torch.device) -> None:
    """Raise MemoryError for what will not fit into a CPU's memory, where trying it could end the process.

    A CUDA device says so itself, and is asked.
    """
    if device.type != "cpu" or isinstance(counted, str):
        return
    weights = held_values(candidate.shadow) * DTYPES[point.precision].itemsize
    # A step of training adds the gradients, which are counted, and AdamW's two moments.
    needed = counted.held_bytes + (3 if point.operation == "train_step" else 1) * weights
    needed += point.batch * math.prod(candidate.input_shape) * DTYPES[point.precision].itemsize
    free = free_memory(device)
    if needed > SHARE_OF_MEMORY * free:
        raise MemoryError(f"needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")


def _time(candidate: Candidate, point: Point, place: Place) -> tuple[Timing, int | None]:
    """The timing of a point, and on CUDA the peak memory of a call."""
    workload = candidate.workload(point, place.device)
    training = point.operation == "train_step"
    mode: AbstractContextManager[object] = nullcontext() if training else torch.inference_mode()
    with in_precision(point.precision), mode:
        if training:
            call = train_step(workload, point.batch, precision=point.precision, compiled=point.compiled)
        else:
            call = inference(workload, point.operation, point.batch, compiled=point.compiled)
        timing = timed(call, place.device, place.patience.effort)
        memory = peak_memory(call, place.device) if place.device.type == "cuda" else None
    return timing, memory


def _metrics(
    candidate: Candidate,
    point: Point,
    ceilings: Ceilings,
    timing: Timing,
    counted: Count | str,
    memory: int | None,
) -> tuple[Metric, ...]:
    return (
        *_speed(timing, point),
        PARAMETERS.measured(held_values(candidate.shadow)),
        PEAK_MEMORY.missing("a cpu process's peak memory is not its model's alone")
        if memory is None
        else PEAK_MEMORY.measured(memory, n=1),
        *_against_the_roof(timing, point, ceilings, counted),
        _input_ratio(candidate, point),
    )


def _speed(timing: Timing, point: Point) -> tuple[Metric, ...]:
    seconds, n = timing.seconds, timing.repetitions
    rate = point.batch / seconds
    percentiles = [
        metric.measured(timing.percentile(percent), n=n)
        if n >= least
        else metric.missing(f"{n} repetitions, it takes {least}", n=n)
        for metric, percent, least in ((LATENCY_P95, 95, LEAST_FOR_P95), (LATENCY_P99, 99, LEAST_FOR_P99))
    ]
    relative = None if timing.se is None else timing.se / seconds
    return (
        RATE.measured(rate, se=None if relative is None else rate * relative, n=n),
        LATENCY.measured(seconds, se=timing.se, n=n),
        *percentiles,
    )


def _against_the_roof(
    timing: Timing, point: Point, ceilings: Ceilings, counted: Count | str
) -> tuple[Metric, ...]:
    peak, bandwidth = ceilings.flops_per_second[point.precision], ceilings.bytes_per_second
    roof = PEAK_FLOPS.measured(peak), BANDWIDTH.measured(bandwidth)
    of_operations, of_bytes = (FLOPS, FLOPS_RATE, SHARE_OF_PEAK), (MOVED, BYTES_RATE, SHARE_OF_BANDWIDTH)
    if isinstance(counted, str):
        flops, flops_rate, share = (metric.missing(counted) for metric in of_operations)
        moved, bytes_rate, bytes_share = (metric.missing(counted) for metric in of_bytes)
        return flops, moved, HELD.missing(counted), flops_rate, share, bytes_rate, bytes_share, *roof
    done = counted.flops / timing.seconds
    flops, flops_rate = FLOPS.measured(counted.flops / point.batch), FLOPS_RATE.measured(done)
    share, held = SHARE_OF_PEAK.measured(done / peak), HELD.measured(counted.held_bytes)
    if point.operation == "train_step" and point.precision == "bf16":
        reason = "autocast chooses the format of every operator; counted in float32 alone"
        moved, bytes_rate, bytes_share = (metric.missing(reason) for metric in of_bytes)
        return flops, moved, HELD.missing(reason), flops_rate, share, bytes_rate, bytes_share, *roof
    rate = counted.moved_bytes / timing.seconds
    moved, bytes_rate = MOVED.measured(counted.moved_bytes), BYTES_RATE.measured(rate)
    bytes_share = SHARE_OF_BANDWIDTH.measured(rate / bandwidth)
    return flops, moved, held, flops_rate, share, bytes_rate, bytes_share, *roof


def _input_ratio(candidate: Candidate, point: Point) -> Metric:
    if point.operation not in ("encode", "decode"):
        return INPUT_RATIO.missing("not an image to a code, nor back")
    return INPUT_RATIO.measured(math.prod(candidate.input_shape) / candidate.latent_dim)


def _is_of_the_compiler(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # seconds to import, for those who compile

    return isinstance(error, TorchDynamoException)


def _is_format_clash(error: Exception) -> bool:
    """Whether a model that was cast met a tensor that was not; torch has only a message for it."""
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("same dtype", "expected scalar type", "should be the same")
    )


def _why_impossible(error: Exception, point: Point) -> str | None:
    """What of a model rules out a point, where only the call itself could tell; None for any other error."""
    if point.compiled and _is_of_the_compiler(error):
        return "cannot be compiled here"
    if _is_format_clash(error):
        return "keeps other formats inside"
    if _is_batch_too_small(error):
        return "has statistics of a batch inside"
    return None


def _is_batch_too_small(error: Exception) -> bool:
    """Whether one image is too few for batch normalisation to train on; torch has only a message for it."""
    return isinstance(error, ValueError) and "more than 1 value per channel" in str(error)


def without_numbers(outcome: Outcome, reason: str) -> RowResult:
    """A row of nulls with the reason."""
    return RowResult(outcome, tuple(metric.missing(reason) for metric in SWEEP_METRICS), reason)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
