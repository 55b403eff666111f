"""Predictors of a learned generator: found, ranked, and not distinguished where they cannot be."""

import numpy as np

from latentbench.analysis.predictors import FEWEST, TARGET, candidates, predictors


def run_of(count, **columns):
    return {
        f"model {number}": {name: float(values[number]) for name, values in columns.items()}
        for number in range(count)
    }


def noise(seed, count=24):
    return np.random.default_rng(seed).normal(size=count)


def test_best_predictor_comes_first_with_either_sign():
    distance = noise(0)
    values = run_of(
        24,
        **{TARGET: distance},
        mse=noise(1),
        dead_zone_moment=-distance + 0.05 * noise(2),
        frechet_gmm10=distance + 0.05 * noise(3),
    )
    found = {each.metric.name: each for each in predictors(values)}
    assert set(list(found)[:2]) == {"dead_zone_moment", "frechet_gmm10"}
    assert found["dead_zone_moment"].correlation.value < -0.9
    assert [each.verdict for each in found.values()] == ["best", "not distinguishable", "worse"]


def test_metrics_of_the_flow_and_timings_predict_nothing():
    names = {metric.name for metric in candidates()}
    assert {"frechet_gmm10", "frechet_interpolation", "missing_mass_moment"} < names
    of_flows = {TARGET, "flow_gap", "flow_loss", "missing_mass_flow", "frechet_at_400_gflop"}
    assert not names & {*of_flows, "encode_latency_seconds"}


def test_too_few_models_have_no_predictors():
    few = FEWEST - 1
    assert predictors(run_of(few, **{TARGET: noise(0)}, mse=noise(1))) == []
    assert predictors(run_of(FEWEST, **{TARGET: noise(0)}, mse=noise(1)))


def test_a_metric_of_few_models_is_left_out():
    values = run_of(24, **{TARGET: noise(0)}, mse=noise(1), kl=noise(2))
    for number in range(10):
        del values[f"model {number}"]["kl"]
    assert [each.metric.name for each in predictors(values)] == ["mse"]


def test_a_constant_metric_is_left_out():
    values = run_of(24, **{TARGET: noise(0)}, mse=noise(1), code_values=np.ones(24))
    assert [each.metric.name for each in predictors(values)] == ["mse"]
