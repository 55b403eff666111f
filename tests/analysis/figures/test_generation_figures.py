"""Figures of samplers and of predictors show what was measured, best first."""

import numpy as np
import pytest

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.analysis.figures.generation import flow_predictors, sampler_distances
from latentbench.models.zoo import model_spec


def result(width, seed=0, **values):
    spec = model_spec(family="ae", latent_dim=width)
    metrics = {name: Metric(name, 1, value, 0.1, 100, "", "neither") for name, value in values.items()}
    return ModelResult(spec.label, spec, seed, metrics, {})


@pytest.fixture(scope="module")
def models():
    rng = np.random.default_rng(0)
    return [
        result(
            width,
            seed,
            frechet_flow=100.0 / width + 0.1 * seed,
            frechet_posterior=50.0 / width,
            frechet_moment=300.0 / width,
            dead_zone_moment=width / 40 + 0.001 * seed,
            mse=float(rng.normal()),
        )
        for width in range(2, 26)
        for seed in (0, 1)
    ]


def test_samplers_are_shown_for_each_model_best_first(models):
    (axes,) = sampler_distances.draw(models).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"ae-{width}" for width in range(25, 1, -1)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["moment", "flow", "posterior"]


def test_models_without_a_flow_have_no_figure():
    model = result(4, frechet_moment=3.0)
    assert sampler_distances.draw([model]) is None
    assert flow_predictors.draw([model]) is None


def test_predictors_are_shown_best_first_with_their_sign(models):
    (axes,) = flow_predictors.draw(models).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[-1].startswith("mse")
    assert "dead_zone_moment (−)" in names
    assert "frechet_moment (+)" in names
    assert len(names) == 4


def test_predictors_are_of_means_over_seeds(models):
    values = flow_predictors.values_of(models)
    assert values["ae-10"]["frechet_flow"] == pytest.approx(10.05)
