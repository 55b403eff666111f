"""The policy: shipped values, overrides in a file, and mistakes reported with their place."""

import pytest

from latentbench.bench.compare.policy import load, shipped
from latentbench.data.errors import LatentbenchError


@pytest.fixture
def policy(tmp_path):
    def write(text):
        (tmp_path / "my.yaml").write_text(text)
        return load(tmp_path / "my.yaml")

    return write


def test_gate_tests_headline_metrics_with_a_direction():
    gated = shipped().gated
    assert {"mse", "recognisable", "frechet_prior", "zero_shot_top1"} <= gated
    assert not gated & {"kl", "active_units", "encode_images_per_second", "psnr"}


def test_smallest_effect_comes_from_metric_then_unit():
    effects = shipped().smallest_effect
    assert effects.of("frechet_prior", "", 80.0) == pytest.approx(4.0)
    assert effects.of("recognisable", "fraction", 0.5) == 0.01
    assert effects.of("mse", "", -0.5) == pytest.approx(0.01)


def test_a_file_replaces_what_it_names_and_no_more(policy):
    mine = policy("gate: [mse]\nsmallest_effect: {metrics: {mse: {absolute: 0.001}}}")
    assert mine.gated == {"mse"}
    assert mine.smallest_effect.of("mse", "", 0.5) == 0.001
    assert mine.smallest_effect.of("frechet_prior", "", 80.0) == pytest.approx(4.0)
    assert mine.alpha == shipped().alpha
    assert policy("gate: all").gated is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alfa: 0.1", "my.yaml: unknown key 'alfa'; did you mean 'alpha'?"),
        ("alpha: 0.9", "my.yaml: alpha must be less than 0.5, got 0.9"),
        ("gate: [mze]", "my.yaml, gate: unknown metric 'mze'; did you mean 'mse'?"),
        ("gate: []", "my.yaml: gate"),
        ("fail_on: [worse]", "my.yaml: fail_on.0 must be 'regressed'"),
        (
            "smallest_effect: {metrics: {mse: {relative: -1}}}",
            "my.yaml, smallest_effect.metrics.mse: relative must be greater than 0, got -1",
        ),
        (
            "smallest_effect: {metrics: {mse: {reltive: 1}}}",
            "my.yaml, smallest_effect.metrics.mse: unknown key 'reltive'; did you mean 'relative'?",
        ),
        (
            "smallest_effect: {default: {relative: 0.1, absolute: 1}}",
            "smallest_effect.default: must have either relative or absolute",
        ),
        ("smallest_effect: {metrics: {mze: {relative: 1}}}", "unknown metric 'mze'; did you mean 'mse'?"),
        ("smallest_effect: {units: {nat: {relative: 1}}}", "unknown unit 'nat'; did you mean 'nats'?"),
        ("smallest_effect: {metric: {}}", "my.yaml, smallest_effect: unknown key 'metric'"),
        ("smallest_effect: 3", "my.yaml, smallest_effect must be a mapping, got 3"),
        ("[1, 2]", "my.yaml: a policy is a mapping, got list"),
        ("a: [", "my.yaml: not YAML"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_what_is_allowed(policy, text, message):
    with pytest.raises(LatentbenchError) as caught:
        policy(text)
    assert message in str(caught.value)


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(LatentbenchError, match="cannot be read: No such file"):
        load(tmp_path / "absent.yaml")
