"""The study: rates that can be checked by hand, and the same numbers from the same seed."""

import json
from dataclasses import replace

import pytest

from latentbench.bench.maintain import gate_error_rates
from latentbench.bench.maintain.gate_error_rates import SCENARIOS, simulate


def scenario(start):
    return next(each for each in SCENARIOS if each.what.startswith(start))


def test_false_alarms_are_as_rare_as_promised():
    rate = simulate(scenario("A/A, 5 shared"), 60, seed=1)
    assert rate.raised <= 9  # 3 expected; more than 9 come once in a thousand
    assert rate.tests == 19 * 6


def test_a_loss_of_one_standard_deviation_is_caught_at_eight_seeds():
    rate = simulate(scenario("1 SD lost, a gate of one metric"), 300, seed=1)
    assert rate.share == pytest.approx(0.815, abs=0.07)
    assert rate.low < rate.share < rate.high


def test_the_same_seed_gives_the_same_rate():
    one = scenario("1 SD lost, a gate of one metric")
    assert simulate(one, 20, seed=3) == simulate(one, 20, seed=3)


def test_the_command_writes_a_table_and_its_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(
        gate_error_rates, "SCENARIOS", tuple(replace(each, models=1) for each in SCENARIOS[:2])
    )
    gate_error_rates.main(["gate", "--gates", "5", "--results", str(tmp_path)])
    rates = json.loads((tmp_path / "study" / "gate.json").read_text())
    assert [rate["gates"] for rate in rates] == [5, 5]
    table = (tmp_path / "study" / "gate.md").read_text()
    assert all(f"| {rate['what']} |" in table for rate in rates)


@pytest.mark.slow
def test_the_throughput_study_times_real_processes(tmp_path):
    gate_error_rates.main(
        ["throughput", "--sessions", "1", "--blocks", "3", "--slower", "1.0", "--results", str(tmp_path)]
    )
    same, slower = json.loads((tmp_path / "study" / "throughput.json").read_text())
    assert same["verdicts"]["train_step_seconds"] != "regressed"
    assert slower["verdicts"]["train_step_seconds"] == "regressed"
    assert slower["changes"]["train_step_seconds"] == pytest.approx(1.0, abs=0.4)
