"""What takes a known time is timed to take it, for as long as it is worth while."""

import statistics
import time

import pytest
import torch

from latentbench.analysis.performance.memory import free_memory, is_out_of_memory, peak_memory
from latentbench.analysis.performance.timing import Effort, Timing, host_clock, median_se, timed

CPU = torch.device("cpu")


def test_a_rare_interruption_does_not_move_the_number():
    waits = iter([0.0] * 5 + [0.3] + [0.0] * 10**6)
    timing = timed(lambda: time.sleep(0.01 + next(waits)), CPU)
    assert timing.seconds == pytest.approx(0.01, rel=0.1)
    assert timing.repetitions >= 7


def test_the_first_calls_warm_up_and_are_not_counted():
    waits = iter([0.2, 0.2, 0.2] + [0.001] * 10**6)
    timing = timed(lambda: time.sleep(next(waits)), CPU)
    assert max(timing.samples) < 0.2


def test_it_goes_on_until_the_interval_is_tight():
    """Calls that differ by a factor of three need more repetitions than calls that are all alike."""
    draws = iter(torch.rand(10**5, generator=torch.Generator().manual_seed(0)).tolist())
    effort = Effort(repetitions=5, seconds=0, half_width=0.1, budget_seconds=20)
    restless = timed(lambda: time.sleep(0.001 + 0.002 * next(draws)), CPU, effort)
    steady = timed(lambda: time.sleep(0.002), CPU, effort)
    assert restless.is_within(0.1)
    assert restless.repetitions > 2 * steady.repetitions
    assert not Timing(restless.samples[:4]).is_within(0.1)  # too few to tell


def test_it_ends_with_the_budget_however_restless_the_calls():
    draws = iter(torch.rand(10**5, generator=torch.Generator().manual_seed(0)).tolist())
    effort = Effort(half_width=1e-6, budget_seconds=0.3)
    started = time.perf_counter()
    timing = timed(lambda: time.sleep(0.02 * next(draws)), CPU, effort)
    assert not timing.is_within(1e-6)
    assert 0.25 < time.perf_counter() - started < 3


def test_a_call_beyond_the_budget_is_warmed_up_once_and_timed_once():
    calls = []
    timing = timed(lambda: (calls.append(1), time.sleep(0.05)), CPU, Effort(budget_seconds=0.04))
    assert (len(calls), timing.repetitions, timing.se) == (2, 1, None)


def test_percentiles_are_those_of_the_samples():
    timing = Timing(tuple(value / 100 for value in range(101)))
    assert timing.seconds == 0.5
    assert timing.percentile(95) == pytest.approx(0.95)


def test_the_error_of_a_median_is_what_repeated_medians_scatter_by():
    draws = torch.Generator().manual_seed(0)
    samples = torch.rand(600, 49, generator=draws).double().square().tolist()
    scatter = statistics.stdev(statistics.median(sample) for sample in samples)
    stated = statistics.mean(median_se(sample) for sample in samples)
    assert stated == pytest.approx(scatter, rel=0.1)


def test_too_few_repetitions_have_no_error():
    assert median_se([1.0, 2.0, 3.0, 4.0]) is None
    assert median_se([1.0, 1.0, 1.0, 1.0, 1.0]) == 0


def test_the_clock_adds_microseconds():
    assert min(host_clock(lambda: None) for _ in range(1000)) < 5e-6


def test_a_tensor_that_no_machine_holds_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert 0 < free_memory(CPU) < 2**60


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_memory_is_what_was_needed_beyond_what_was_there():
    device = torch.device("cuda")
    kept = torch.zeros(2**20, device=device)
    assert peak_memory(lambda: kept + 1, device) == kept.nbytes
