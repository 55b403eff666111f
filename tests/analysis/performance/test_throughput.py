"""A model that takes a known time is measured to take it; what cannot be measured says why."""

import copy
import time

import pytest
import torch

from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.performance.throughput import held_values
from latentbench.models.protocols import Posterior
from latentbench.models.training.recipe import Recipe

ENCODE, DECODE, STEP, SINGLE = 0.04, 0.03, 0.05, 0.02


class Sleeper:
    """Takes its time, and remembers how many images it was given."""

    def __init__(self):
        self.sizes = set()

    def encode(self, x):
        self.sizes.add(len(x))
        time.sleep(SINGLE if len(x) == 1 else ENCODE)
        return Posterior(x.flatten(1)[:, :2])

    def decode(self, z):
        self.sizes.add(len(z))
        time.sleep(DECODE)
        return z

    def step(self, images):
        assert images.dtype == torch.uint8
        self.sizes.add(len(images))
        time.sleep(STEP)


def measured(subject):
    return {metric.name: metric for metric in ANALYSES["throughput"].measure(subject).metrics}


def test_a_model_that_sleeps_is_as_fast_as_its_sleep(context):
    model = Sleeper()
    metrics = measured(Subject(model, context, seed=0, train_step=model.step))
    assert metrics["encode_images_per_second"].value == pytest.approx(256 / ENCODE, rel=0.1)
    assert metrics["decode_images_per_second"].value == pytest.approx(256 / DECODE, rel=0.1)
    assert metrics["train_step_images_per_second"].value == pytest.approx(256 / STEP, rel=0.1)
    assert metrics["encode_latency_seconds"].value == pytest.approx(SINGLE, rel=0.1)
    assert metrics["decode_latency_seconds"].value == pytest.approx(DECODE, rel=0.1)
    assert model.sizes == {1, 256}
    assert metrics["encode_latency_seconds"].n >= 7


def test_a_model_of_the_zoo_has_every_number_that_a_cpu_can_give(vae):
    step = copy.deepcopy(vae.model).train_step(Recipe())
    metrics = measured(Subject(vae.model, vae.context, seed=0, train_step=step))
    memory = metrics.pop("peak_memory_bytes")
    assert memory.value is None
    assert "cpu" in memory.reason
    assert all(metric.value > 0 for metric in metrics.values())
    # Other tests run beside this one and may slow any of these down; a wrong unit would be off by 256.
    forward = metrics["encode_images_per_second"].value
    assert metrics["train_step_images_per_second"].value < 10 * forward
    single = metrics["encode_latency_seconds"].value
    assert 256 / forward < 10 * 256 * single


def test_parameters_count_buffers_too(pca):
    assert held_values(pca.model) == 784 * 8 + 784
    assert measured(pca)["parameters"].value == 784 * 8 + 784


def test_what_a_model_lacks_is_null_with_the_reason(pca, context):
    assert measured(pca)["train_step_images_per_second"].reason == "no train step"

    class ImagesAndWords:
        def encode_image(self, x):
            return torch.nn.functional.normalize(x.flatten(1), dim=1)

        def encode_text(self, captions):
            raise NotImplementedError

    metrics = measured(Subject(ImagesAndWords(), context, seed=0))
    assert metrics["decode_images_per_second"].reason == "no decoder"
    assert metrics["decode_latency_seconds"].reason == "no decoder"
    assert metrics["parameters"].reason == "ImagesAndWords is not a torch module"
    assert metrics["encode_images_per_second"].value > 0
