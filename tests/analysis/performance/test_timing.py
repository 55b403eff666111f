"""The rules of a timing, on a clock of the test's own: every call says how long it took."""

import statistics
from itertools import cycle

import pytest
import torch

from latentbench.analysis.performance.contention import Contention
from latentbench.analysis.performance.timing import (
    PAUSE_SECONDS,
    Effort,
    Timing,
    event_clock,
    host_clock,
    less_disturbed,
    quantile_se,
    timed,
    timed_when_quiet,
)

CPU = torch.device("cpu")
QUIET = Contention(seconds=1.0, others_seconds=0.0, waited_seconds=0.0, threads=1, cores=2)
BUSY = Contention(seconds=1.0, others_seconds=1.0, waited_seconds=0.5, threads=1, cores=2)


def told(call):
    """A clock that takes a call's word for its seconds."""
    return call()


def calls(seconds):
    """A call that takes these seconds, one after the other."""
    iterator = iter(seconds)
    return lambda: next(iterator)


def uniform(low, high):
    draws = torch.rand(10**4, generator=torch.Generator().manual_seed(0)).double()
    return iter((low + (high - low) * draws).tolist())


def test_rare_interruptions_move_neither_quantile():
    timing = timed(calls([0.01] * 5 + [0.3] + [0.01] * 100), CPU, clock=told)
    assert (timing.median, timing.low) == (0.01, pytest.approx(0.01))
    assert timing.repetitions >= 7


def test_low_quantile_ignores_a_half_that_was_disturbed():
    timing = Timing((0.01, 0.03) * 50)
    assert timing.low == pytest.approx(0.01)
    assert timing.median == 0.02


def test_warm_up_calls_are_not_counted():
    timing = timed(calls([5.0, 5.0, 5.0] + [0.1] * 100), CPU, clock=told)
    assert max(timing.samples) == 0.1


def test_repeats_at_least_as_often_and_as_long_as_asked():
    effort = Effort(repetitions=7, seconds=0.15)
    assert timed(cycle([1.0]).__next__, CPU, effort, clock=told).repetitions == 7
    assert timed(cycle([0.001]).__next__, CPU, effort, clock=told).repetitions == 150


def test_repeats_until_the_interval_is_tight():
    effort = Effort(repetitions=5, seconds=0, half_width=0.1)
    restless = timed(calls(uniform(0.001, 0.003)), CPU, effort, clock=told)
    steady = timed(cycle([0.002]).__next__, CPU, effort, clock=told)
    assert restless.is_within(0.1)
    assert restless.repetitions > 2 * steady.repetitions
    assert not Timing(restless.samples[:4]).is_within(0.1)  # too few to tell


def test_budget_ends_a_restless_timing():
    timing = timed(calls(uniform(0, 0.02)), CPU, Effort(half_width=1e-6, budget_seconds=0.3), clock=told)
    assert not timing.is_within(1e-6)
    assert 0.2 < sum(timing.samples) < 0.32


def test_call_beyond_the_budget_is_made_twice():
    """Once to warm up and once to be timed."""
    made = []
    timing = timed(lambda: made.append(1) or 5.0, CPU, Effort(budget_seconds=4.0), clock=told)
    assert (len(made), timing.repetitions, timing.median_se) == (2, 1, None)


def test_percentiles_are_those_of_the_samples():
    timing = Timing(tuple(value / 100 for value in range(101)))
    assert (timing.median, timing.low) == (0.5, pytest.approx(0.1))
    assert timing.percentile(95) == pytest.approx(0.95)


@pytest.mark.parametrize("quantile", [0.1, 0.5])
def test_error_is_the_scatter_of_repeated_quantiles(quantile):
    draws = torch.rand(600, 200, generator=torch.Generator().manual_seed(0)).double().square().tolist()
    found = [Timing(tuple(sample)).percentile(100 * quantile) for sample in draws]
    stated = statistics.mean(quantile_se(sample, quantile) for sample in draws)
    assert stated == pytest.approx(statistics.stdev(found), rel=0.1)


def test_few_repetitions_have_no_error():
    assert Timing((1.0,) * 4).median_se is None
    assert Timing((1.0,) * 5).median_se == 0
    assert Timing((1.0,) * 9).low_se is None
    assert Timing((1.0,) * 10).low_se == 0


def test_spread_calls_are_a_disturbance():
    assert Timing((1.0, 1.2, 1.2), QUIET).disturbance is None
    assert "1.5 times as long as the fastest" in Timing((1.0, 1.5, 1.5), QUIET).disturbance
    assert "waited for a core 50% of the time" in Timing((1.0, 1.0), BUSY).disturbance


def test_disturbed_timings_are_repeated_after_the_others():
    order = []

    def call(name, seconds):
        iterator = iter(seconds)
        return lambda: order.append(name) or next(iterator)

    effort = Effort(warm_up=0, repetitions=3, seconds=0)
    pauses = []
    timings = timed_when_quiet(
        {
            "restless": (call("restless", [1.0, 2.0, 2.0, 1.0, 1.0, 1.0]), effort),
            "steady": (call("steady", [3.0, 3.0, 3.0]), effort),
        },
        torch.device("cuda") if torch.cuda.is_available() else CPU,
        clock=told,
        pause=pauses.append,
        watch=lambda: None,
    )
    assert order == ["restless"] * 3 + ["steady"] * 3 + ["restless"] * 3
    assert pauses == [PAUSE_SECONDS]
    assert timings["restless"].samples == (1.0, 1.0, 1.0)


def test_repetition_ends_after_the_retries():
    made = []
    call = calls(cycle([1.0, 2.0, 2.0]))
    effort = Effort(warm_up=0, repetitions=3, seconds=0)
    timing = timed_when_quiet(
        {"restless": (lambda: made.append(1) or call(), effort)},
        CPU,
        retries=3,
        clock=told,
        pause=lambda seconds: None,
        watch=lambda: None,
    )["restless"]
    assert len(made) == 3 * (1 + 3)
    assert timing.disturbance is not None


def test_undisturbed_timing_is_preferred_then_the_faster():
    quiet, busy, slower = Timing((2.0, 2.0), QUIET), Timing((1.0, 1.0), BUSY), Timing((3.0, 3.0), QUIET)
    assert less_disturbed(busy, quiet) is quiet
    assert less_disturbed(slower, quiet) is quiet


def test_host_clock_measures_the_call():
    seconds = min(host_clock(lambda: sum(range(20_000))) for _ in range(5))
    assert min(host_clock(lambda: None) for _ in range(100)) < seconds


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_event_clock_waits_for_the_device():
    a = torch.rand(4096, 4096, device="cuda")
    assert event_clock(lambda: a @ a) > 0
