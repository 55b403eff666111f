"""Budgets in operations: what they buy for a code, and null where they buy nothing."""

import pytest

from latentbench.analysis.core.metric import Unmeasurable
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.generation import equal_flops as module
from latentbench.analysis.generation.equal_flops import IMAGES, Budget, decoding_flops, equal_flops
from latentbench.analysis.generation.flow_quality import sampling_flops, training_flops
from latentbench.analysis.stored.equal_flops import BUDGETS

GFLOP = 10**9


@pytest.mark.parametrize("shape", [(16,), (1, 28, 28), (4, 7, 7)])
@pytest.mark.parametrize("gflop", BUDGETS)
def test_a_budget_is_spent_and_not_exceeded(shape, gflop):
    decoder = 10**6
    recipe = Budget.of(shape, gflop, decoder).recipe
    spent = training_flops(shape, recipe)
    assert 0 <= gflop * GFLOP - spent < spent / recipe.steps
    left = gflop * GFLOP / IMAGES - decoder - sampling_flops(shape, recipe)
    assert left >= 0
    assert recipe.sampling_steps == 32 or left < sampling_flops(shape, recipe) / recipe.sampling_steps


def test_pixels_and_codes_have_the_same_network_inside():
    pixels, codes = (Budget.of(shape, 1600, 0).recipe for shape in ((1, 28, 28), (16,)))
    same = {"network", "width", "blocks", "batch_size", "learning_rate"}
    assert pixels.model_dump(include=same) == codes.model_dump(include=same)
    assert pixels.steps < codes.steps


def test_a_budget_below_one_step_is_refused():
    with pytest.raises(Unmeasurable, match="too few for one step"):
        Budget.of((16,), 100, decoder=5 * 10**6)


def test_a_smaller_budget_is_null_and_a_larger_one_measured(vae, monkeypatch, tmp_path):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "GFLOP", 3 * 10**7)
    subject = Subject(vae.model, vae.context, seed=0)
    measurement = equal_flops(subject)
    found = {metric.name: metric for metric in measurement.metrics}
    assert list(found) == [metric.name for metric in ANALYSES["equal_flops"].metrics]
    assert "too few for one step" in found["frechet_at_100_gflop"].reason
    measured = found["frechet_at_6400_gflop"]
    assert measured.value > 0
    assert len(measured.by_judge) == 5
    assert found["frechet_at_6400_gflop_pixels"].value > 0
    assert found["frechet_at_6400_gflop_untrained"].value > 0
    assert measurement.arrays["samples_6400"].shape == (64, 1, 28, 28)


def test_decoding_costs_the_products_of_the_decoder(vae):
    assert decoding_flops(Subject(vae.model, vae.context, seed=0)) == 2 * (4 * 64 + 64 * 784)
