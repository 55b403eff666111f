"""One row of a sweep: a model at a point, counted (operations, bytes moved, bytes held), then timed.

A point that cannot be measured is a row with the reason: the device lacks the precision, the batch does not
fit, the model has no decoder, or a call would take longer than the sweep allows.
"""

from __future__ import annotations

import math
import traceback
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from latentbench.analysis.core.metric import Metric, MetricDefinition
from latentbench.analysis.performance.memory import is_out_of_memory, peak_memory
from latentbench.analysis.performance.number_formats import in_precision
from latentbench.analysis.performance.point import SweepPoint
from latentbench.analysis.performance.roofline import Peaks
from latentbench.analysis.performance.throughput import PARAMETERS, held_values
from latentbench.analysis.performance.timing import (
    LEAST_FOR_P95,
    LEAST_FOR_P99,
    Effort,
    Timing,
    timed_when_quiet,
)
from latentbench.analysis.workloads.candidate import Candidate
from latentbench.analysis.workloads.efficiency import compared_with_peak
from latentbench.analysis.workloads.feasibility import (
    Skip,
    check_duration,
    check_memory,
    check_possible,
    is_format_clash,
    why_impossible,
)
from latentbench.analysis.workloads.flops import Count
from latentbench.analysis.workloads.operations import inference, train_step
from latentbench.analysis.workloads.sweep_metrics import (
    BYTES_RATE,
    FLOPS_RATE,
    INPUT_RATIO,
    LATENCY,
    LATENCY_P95,
    LATENCY_P99,
    PEAK_MEMORY,
    RATE,
    SHARE_OF_BANDWIDTH,
    SHARE_OF_PEAK,
    SWEEP_METRICS,
)

Outcome = Literal["ok", "skipped", "out_of_memory", "failed"]

RETRIES = 1
"""The number of times that a contended row is timed again; more would double the time of a sweep again."""
FROM_TIMING = frozenset(
    metric.name
    for metric in (
        *(RATE, LATENCY, LATENCY_P95, LATENCY_P99),
        *(FLOPS_RATE, SHARE_OF_PEAK, BYTES_RATE, SHARE_OF_BANDWIDTH),
    )
)
"""The metrics that a contended timing makes doubtful; the others are counted."""


@dataclass(frozen=True)
class Patience:
    """The time that a row may take: the effort of its timing, and the longest call that a sweep waits for."""

    effort: Effort
    longest_call_seconds: float


@dataclass(frozen=True)
class WorkloadPlace:
    """The device of a sweep, its measured peaks, and the time that a row may take."""

    device: torch.device
    peaks: Peaks
    patience: Patience


@dataclass(frozen=True)
class RowResult:
    """The result of a point: metrics in the order of `SWEEP_METRICS`, all null where there is a reason."""

    outcome: Outcome
    metrics: tuple[Metric, ...]
    reason: str | None = None


def measure(
    candidate: Candidate, point: SweepPoint, place: WorkloadPlace, *, expected_seconds: float | None = None
) -> RowResult:
    """Count and time a model at a point.

    `expected_seconds` is the expected time of a call, from smaller batches. Raises only KeyboardInterrupt:
    any other error becomes the row's outcome and reason.
    """
    counted: Count | str
    try:
        check_possible(candidate, point, place.device)
        counted = _try_to_count(candidate, point)
        check_duration(
            _least_seconds(counted, point, place), expected_seconds, place.patience.longest_call_seconds
        )
        if isinstance(counted, Count):
            check_memory(candidate, counted, point, place.device)
        timing, memory = _time(candidate, point, place)
        return RowResult("ok", _metrics(candidate, point, place.peaks, timing, counted, memory))
    except Skip as skip:
        return without_numbers("skipped", str(skip))
    except MemoryError as error:
        return without_numbers("out_of_memory", _one_line(error))
    except Exception as error:
        # The frames of the failed call hold its tensors, and the next row needs their memory.
        traceback.clear_frames(error.__traceback__)
        candidate.forget()
        if (impossible := why_impossible(error, point)) is not None:
            return without_numbers("skipped", f"{impossible}: {_one_line(error)}")
        outcome: Outcome = "out_of_memory" if is_out_of_memory(error) else "failed"
        return without_numbers(outcome, f"{type(error).__name__}: {_one_line(error)}")
    finally:
        if point.compiled:
            torch._dynamo.reset()


def without_numbers(outcome: Outcome, reason: str) -> RowResult:
    """Return a row of nulls with the reason."""
    return RowResult(outcome, tuple(metric.missing(reason) for metric in SWEEP_METRICS), reason)


def _try_to_count(candidate: Candidate, point: SweepPoint) -> Count | str:
    """Return the count, or the reason for none: a model may read values, which shapes alone do not have."""
    try:
        return candidate.counted(point)
    except Exception as error:
        if is_format_clash(error):
            raise
        return f"not counted: {type(error).__name__}: {_one_line(error)}"


def _least_seconds(counted: Count | str, point: SweepPoint, place: WorkloadPlace) -> float:
    """Return the seconds that a call takes at the peak of the device; 0 if it was not counted."""
    return (
        counted.flops / place.peaks.flops_per_second[point.precision] if isinstance(counted, Count) else 0.0
    )


def _time(candidate: Candidate, point: SweepPoint, place: WorkloadPlace) -> tuple[Timing, int | None]:
    """Return the timing of a point, and on CUDA the peak memory of a call."""
    workload = candidate.workload(point, place.device)
    training = point.operation == "train_step"
    mode: AbstractContextManager[object] = nullcontext() if training else torch.inference_mode()
    with in_precision(point.precision), mode:
        if training:
            call = train_step(workload, point.batch, precision=point.precision, compiled=point.compiled)
        else:
            call = inference(workload, point.operation, point.batch, compiled=point.compiled)
        timing = timed_when_quiet({"row": (call, place.patience.effort)}, place.device, retries=RETRIES)[
            "row"
        ]
        memory = peak_memory(call, place.device) if place.device.type == "cuda" else None
    return timing, memory


def _metrics(
    candidate: Candidate,
    point: SweepPoint,
    peaks: Peaks,
    timing: Timing,
    counted: Count | str,
    memory: int | None,
) -> tuple[Metric, ...]:
    measured = (
        *_speed(timing, point),
        PARAMETERS.measured(held_values(candidate.shadow)),
        PEAK_MEMORY.missing("the peak memory of a CPU process is not its model's alone")
        if memory is None
        else PEAK_MEMORY.measured(memory, n=1),
        *compared_with_peak(timing.median, point, peaks, counted).metrics,
        _input_ratio(candidate, point),
    )
    by_name = {metric.name: metric for metric in measured}
    return tuple(_doubted(by_name[metric.name], timing.disturbance) for metric in SWEEP_METRICS)


def _doubted(metric: Metric, disturbance: str | None) -> Metric:
    """Return the metric, marked doubtful if it comes from a timing that was disturbed."""
    if disturbance is None or metric.name not in FROM_TIMING:
        return metric
    return metric.doubted("contended", disturbance)


def _speed(timing: Timing, point: SweepPoint) -> tuple[Metric, ...]:
    seconds, se, n = timing.median, timing.median_se, timing.repetitions
    rate = point.batch / seconds
    return (
        RATE.measured(rate, se=None if se is None else rate * se / seconds, n=n),
        LATENCY.measured(seconds, se=se, n=n),
        _percentile(LATENCY_P95, timing, 95, LEAST_FOR_P95),
        _percentile(LATENCY_P99, timing, 99, LEAST_FOR_P99),
    )


def _percentile(metric: MetricDefinition, timing: Timing, percent: float, least: int) -> Metric:
    n = timing.repetitions
    if n < least:
        return metric.missing(f"needs {least} repetitions, got {n}", n=n)
    return metric.measured(timing.percentile(percent), n=n)


def _input_ratio(candidate: Candidate, point: SweepPoint) -> Metric:
    if point.operation not in ("encode", "decode"):
        return INPUT_RATIO.missing("the operation is neither encoding nor decoding an image")
    return INPUT_RATIO.measured(math.prod(candidate.input_shape) / candidate.latent_dim)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
