"""The study: rates that theory predicts, by the rules of `compare`, and equal from equal seeds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentbench.analysis.catalogue import METRICS
from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import EffectSize, SmallestEffects, shipped, timings
from latentbench.bench.compare.power import power_of_t
from latentbench.bench.store.run import Run
from latentbench.bench.studies import gate_error_rates
from latentbench.bench.studies.gate_error_rates import SCENARIOS, draw_runs, regressed, simulate


def scenario(start, seeds=None):
    return next(s for s in SCENARIOS if s.what.startswith(start) and seeds in (None, s.seeds))


def test_false_alarms_are_as_rare_as_promised():
    rate = simulate(scenario("A/A, shared seeds", 5), 600, seed=1)
    assert rate.raised <= 48  # 30 expected; more than 48 happen once in a thousand
    assert rate.tests == 19 * 6


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("images", [60, 300, 10_000])
@pytest.mark.parametrize("gate", ["small", "headline", "all"])
def test_shares_of_few_images_raise_no_more_alarms(gate, images, seeds):
    rate = simulate(scenario(f"A/A, gate {gate}, {images:,} test images, 10%", seeds), 200, seed=1)
    assert rate.raised <= 20  # 10 expected at most; more than 20 happen once in a thousand


def test_the_power_is_that_of_theory():
    one = scenario("1 SD lost, a gate of one metric")
    assert simulate(one, 4000, seed=1).share == pytest.approx(power_of_t(1.0, one.seeds), abs=0.02)


@pytest.mark.parametrize(
    "one",
    [
        scenario("A/A, gate headline, 60 test images, 10%", 2),
        scenario("A/A, gate headline, 60 test images, 10%", 5),
        scenario("A/A, gate headline, 60 test images, 10% uncertain, other seeds", 3),
        scenario("A/A, one of the seeds in B"),
        scenario("1 SD lost by all of 19 models"),
    ],
    ids=lambda one: f"{one.what}, {one.seeds} seeds",
)
def test_the_study_applies_the_rules_of_compare(one, make_record):
    names = [name for name, metric in METRICS.items() if metric.better == "lower" and name not in timings()]
    one = replace(one, models=4, smallest_effect=1e-9)
    a, b = draw_runs(one, 5, np.random.default_rng(0))
    if one.other_seeds:
        assert a.shape == b.shape
    # Losses that are large enough for some to be significant.
    b = b + np.linspace(0, 0.1, 4)[:, None, None]
    effects = SmallestEffects(default=EffectSize(absolute=one.smallest_effect))
    policy = shipped().model_copy(update={"smallest_effect": effects})
    decided = regressed(one, a, b)
    assert 0 < decided.sum() < decided.size
    for gate in range(5):
        runs = [
            Run(Path("runs/x/y.jsonl"), records(side[gate], first, one, names, make_record))
            for side, first in ((a, 0), (b, 100 if one.other_seeds else 0))
        ]
        comparison = compare(*runs, policy, correction="Holm")
        found = {(f.model, f.metric) for f in comparison.findings if f.verdict == "regressed"}
        expected = {(f"ae-{model + 1}", names[metric]) for model, metric in np.argwhere(decided[gate])}
        assert found == expected


def records(values, first, one, names, make_record):
    return tuple(
        make_record(
            latent_dim=model + 1,
            seed=first + seed,
            n=one.images,
            **{names[metric]: values[model, metric, seed] for metric in range(values.shape[1])},
        )
        for model in range(values.shape[0])
        for seed in range(values.shape[2])
    )


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
