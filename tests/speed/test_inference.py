"""The cost of timing, and the agreement of two timings: `pytest tests/speed -k inference -s`.

Ours is `analysis.performance.timing.timed`, the rival is a hand-written loop. Both time the same real call,
and the two durations are compared, since they are what a table shows.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

import pytest
import torch

from latentbench.analysis.core.devices import find_device
from latentbench.analysis.performance.point import SweepPoint
from latentbench.analysis.performance.roofline import measure_peaks
from latentbench.analysis.performance.timing import Effort, timed
from latentbench.analysis.workloads.candidate import Candidate, TimedModel
from latentbench.analysis.workloads.measure import Patience, WorkloadPlace, measure
from latentbench.models.zoo import FAMILIES, model_spec

DEVICE = find_device("auto")
SHAPE = (1, 28, 28)
REPETITIONS, TURNS = 2000, 5
CLOSE, OVERHEAD = 0.05, 0.02


@pytest.fixture(scope="module")
def encode():
    model = FAMILIES["vae"].build(model_spec(family="vae", latent_dim=16), SHAPE).to(DEVICE).eval()
    images = torch.rand(64, *SHAPE, device=DEVICE)
    return partial(torch.inference_mode()(model.encode), images)


def by_hand(call):
    """The loop one would write: warm up, then time every call; the median of the seconds."""
    seconds = []
    for _ in range(3):
        call()
    for _ in range(REPETITIONS):
        if DEVICE.type == "cuda":
            started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            started.record()
            call()
            ended.record()
            ended.synchronize()
            seconds.append(started.elapsed_time(ended) / 1000)
        else:
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def test_inference_overhead_of_the_harness(side_by_side, say, encode):
    """Both are timed in turn and the least counts, so that other work on the machine affects neither."""
    effort = Effort(repetitions=REPETITIONS, seconds=0.0)
    ours, hand = [], []
    found = side_by_side(
        lambda: ours.append(timed(encode, DEVICE, effort).median),
        lambda: hand.append(by_hand(encode)),
        rounds=TURNS,
    )
    overhead = min(ours) / min(hand) - 1
    say(
        f"a median over {REPETITIONS:,} encodings of 64 images, {DEVICE.type}",
        found,
        "a loop by hand",
        f"{1e6 * min(ours):.2f} µs a call against {1e6 * min(hand):.2f} µs, {overhead:+.2%}",
    )
    assert overhead < OVERHEAD


def test_inference_rows_twice(benchmark, capsys):
    """Two rows of the same point, one after the other, by the sweep itself."""
    spec = model_spec(family="vae", latent_dim=16)
    candidate = Candidate(TimedModel(lambda: FAMILIES["vae"].build(spec, SHAPE).eval(), SHAPE, 16))
    patience = Patience(Effort(half_width=0.02, budget_seconds=2.0), 10.0)
    place = WorkloadPlace(DEVICE, measure_peaks(DEVICE, ("fp32",)), patience)
    point = SweepPoint(operation="encode", batch=256)
    seconds = []

    def row():
        result = measure(candidate, point, place)
        assert result.outcome == "ok", result.reason
        latency = next(metric for metric in result.metrics if metric.name == "latency_seconds")
        seconds.append(latency.value)

    benchmark.pedantic(row, rounds=4)
    apart = max(seconds) / min(seconds) - 1
    benchmark.extra_info.update(apart=apart)
    with capsys.disabled():
        print(f"\nfour rows of {point.label}: medians within {apart:.1%} of each other")
    assert apart < CLOSE
