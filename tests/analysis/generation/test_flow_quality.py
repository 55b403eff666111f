"""The flow as a sampler of real models: measured like the others, or null with a reason."""

import numpy as np
import pytest
import torch

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.flow import recipe
from latentbench.analysis.flow.networks import TIME
from latentbench.analysis.flow.recipe import FlowRecipe
from latentbench.analysis.generation.flow_quality import flow_quality, sampling_flops, training_flops
from latentbench.analysis.generation.sample_metrics import KINDS
from latentbench.analysis.generation.sample_quality import sampling
from latentbench.data.images import ImageData, Split
from latentbench.models.protocols import Posterior

SHORT = FlowRecipe(width=64, blocks=2, steps=300, batch_size=128)


@pytest.fixture(autouse=True)
def short(monkeypatch, tmp_path):
    monkeypatch.setattr(recipe, "VECTORS", SHORT)
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))


def fresh(subject):
    return Subject(subject.model, subject.context, seed=subject.seed)


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


def test_flow_is_measured_like_every_sampler(pca):
    subject = fresh(pca)
    measurement = flow_quality(subject)
    found = by_name(measurement)
    assert list(found) == [definition.name for definition in ANALYSES["flow"].metrics]
    assert {f"{kind.name}_flow" for kind in KINDS} < set(found)
    assert all(metric.value is not None for metric in found.values())
    assert measurement.arrays["samples_flow"].shape == (64, 1, 28, 28)
    others = by_name(sampling(subject))
    assert not set(found) & set(others)
    assert found["frechet_flow"].value < others["frechet_moment"].value
    flow, best, gap = found["frechet_flow"], others["frechet_posterior"], found["flow_gap"]
    assert gap.value == pytest.approx(flow.value - best.value)
    assert gap.by_judge == pytest.approx(np.subtract(flow.by_judge, best.by_judge))
    assert gap.se >= np.hypot(*(np.std(gap.by_judge, ddof=1) / 5**0.5, 0.0)) > 0


def test_flow_is_opt_in():
    assert ANALYSES["flow"].opt_in
    assert not any("_flow" in definition.name for definition in ANALYSES["sampling"].metrics)
    assert not any("_flow" in definition.name for definition in ANALYSES["crosschecks"].metrics)


def test_images_without_labels_have_label_free_distances(vae, mnist_small):
    unlabelled = ImageData(
        "unlabelled", Split(mnist_small.train.images, None), Split(mnist_small.test.images, None), ()
    )
    found = by_name(flow_quality(Subject(vae.model, DataContext(unlabelled), seed=0)))
    assert found["frechet_flow_pixels"].value > 0
    assert found["frechet_flow_untrained"].value > 0
    assert found["frechet_flow"].value is None
    assert found["flow_gap"].reason is not None


@pytest.mark.parametrize(("family", "settings"), [("vq", {}), ("fsq", {})])
def test_discrete_codes_are_null_with_a_reason(subject_of, family, settings):
    found = by_name(flow_quality(fresh(subject_of(family, 4, hidden=32, epochs=1, **settings))))
    assert {metric.value for metric in found.values()} == {None}
    assert "discrete" in found["flow_gap"].reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda codes: codes * torch.nan, "not finite"),
        (lambda codes: codes * 0, "all the same"),
    ],
)
def test_codes_without_a_density_are_null_with_a_reason(vae, change, reason):
    class Changed:
        def encode(self, x):
            return Posterior(change(vae.model.encode(x).mean))

        def decode(self, z):
            return vae.model.decode(z)

    found = by_name(flow_quality(Subject(Changed(), vae.context, seed=0)))
    assert {metric.value for metric in found.values()} == {None}
    assert reason in found["flow_gap"].reason


def test_fewer_images_than_needed_are_null_with_a_reason(vae, mnist_small):
    few = Split(mnist_small.train.images[:99], mnist_small.train.labels[:99])
    data = ImageData("few", few, mnist_small.test, mnist_small.classes)
    found = by_name(flow_quality(Subject(vae.model, DataContext(data, vae.context.judges), seed=0)))
    assert found["flow_gap"].reason == "fewer than 100 codes to train a flow on"


def test_a_flow_that_diverges_is_null_with_its_step(vae, monkeypatch):
    monkeypatch.setattr(recipe, "VECTORS", SHORT.model_copy(update={"learning_rate": 1e30}))
    found = by_name(flow_quality(fresh(vae)))
    assert {metric.value for metric in found.values()} == {None}
    assert found["frechet_flow"].reason.startswith("the flow diverged: the loss was not finite at step")


def test_operations_are_those_of_the_networks_layers():
    shape, width, blocks = (16,), SHORT.width, SHORT.blocks
    of_time = 64 * TIME + blocks * TIME * width
    once = 2 * (of_time + 2 * 16 * width + 2 * blocks * width**2)
    assert sampling_flops(shape, SHORT) == 2 * SHORT.sampling_steps * once
    # Each weight has a gradient; the codes and the frequencies of time have none.
    backward = 2 * once - 2 * (64 * TIME + 16 * width)
    assert training_flops(shape, SHORT) == SHORT.steps * SHORT.batch_size * (once + backward)
