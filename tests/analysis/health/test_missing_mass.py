"""Missing mass of samples that lack a class, and the analysis on a real model."""

import math

import pytest
import torch

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.flow import recipe
from latentbench.analysis.flow.recipe import FlowRecipe
from latentbench.analysis.health.missing_mass import (
    CLUSTERS,
    Missing,
    attributes,
    beyond_chance,
    clusters,
    missing_mass,
    missing_mass_flow,
    uncovered,
)
from latentbench.data.images import ImageData, Split
from latentbench.models.protocols import Posterior

from .conftest import noise


def ten_clusters(n, seed, *, present=10):
    label = torch.randint(present, (n,), generator=torch.Generator().manual_seed(seed))
    centres = 8 * torch.nn.functional.normalize(noise(10, 6, seed=99), dim=1)
    return centres[label] + noise(n, 6, seed=seed) * 0.5, label


def seen(present):
    """Real points of ten clusters; samples that have the first ones of them; other real points."""
    real, label = ten_clusters(2000, 0)
    samples, others = ten_clusters(2000, 1, present=present)[0], ten_clusters(2000, 2)[0]
    return Missing(uncovered(real, samples), uncovered(real, others)), label


def test_samples_without_a_class_miss_its_share():
    found, label = seen(present=9)
    share = (label == 9).double().mean().item()
    whole = found.among(torch.ones(len(label), dtype=torch.bool))
    assert whole.value == pytest.approx(share, abs=4 * whole.se)
    assert found.among(label == 9).value == pytest.approx(1)
    assert all(abs(found.among(label == each).value) < 0.15 for each in range(9))


def test_samples_like_the_images_miss_nothing():
    found, label = seen(present=10)
    whole = found.among(torch.ones(len(label), dtype=torch.bool))
    assert abs(whole.value) < 3 * whole.se
    assert whole.se < 0.02


def test_the_error_is_that_of_the_images():
    """Over new images of the same kind the missing mass varies as its error says."""
    draws = torch.Generator().manual_seed(0)
    values, errors = [], []
    for _ in range(300):
        missing = torch.rand(500, generator=draws) < 0.3
        found = beyond_chance(missing, torch.rand(500, generator=draws) < 0.05)
        values.append(found.value)
        errors.append(found.se)
    assert torch.tensor(values).std().item() == pytest.approx(sum(errors) / 300, rel=0.15)
    assert sum(values) / 300 == pytest.approx(0.25 / 0.95, abs=0.01)


def test_images_that_chance_misses_say_nothing():
    assert math.isnan(beyond_chance(torch.ones(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)).value)


def test_clusters_are_ordered_by_size():
    points, _ = ten_clusters(1000, 3, present=3)
    member = clusters(points, seed=0)
    sizes = member.bincount()
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)
    assert len(sizes) == CLUSTERS
    assert clusters(points[:5], seed=0).tolist() == [0] * 5
    assert clusters(torch.ones(200, 3), seed=0).tolist() == [0] * 200


def test_attributes_of_known_images():
    flat = torch.full((1, 1, 8, 8), 0.25)
    stripes = torch.zeros(1, 1, 8, 8)
    stripes[..., ::2] = 1
    assert attributes(flat).tolist() == [[0.25, 0.0, 0.0]]
    brightness, _, detail = attributes(stripes)[0].tolist()
    assert (brightness, detail) == (0.5, 1.0)


def test_analysis_of_a_vae(vae):
    measurement = missing_mass(vae)
    found = {metric.name: metric for metric in measurement.metrics}
    assert list(found) == [metric.name for metric in ANALYSES["missing_mass"].metrics]
    for name in ("prior", "moment"):
        assert -0.1 < found[f"missing_mass_{name}"].value < 1
        assert found[f"missing_class_{name}"].value > found[f"missing_mass_{name}"].value
        assert measurement.arrays[f"classes_{name}"].shape == (10,)
        assert measurement.arrays[f"attributes_{name}"].shape == (3, 4)
        shares = measurement.arrays[f"clusters_{name}"]
        assert measurement.arrays[f"examples_{name}"].shape == (len(shares), 3, 5, 1, 28, 28)
    assert missing_mass(vae).metrics == measurement.metrics


class FarFromCodes:
    """A model whose draws from the moment Gaussian all decode to zeros, and its codes to the images."""

    def __init__(self, images, zeros):
        self.images, self.zeros = images, zeros

    def encode(self, x):
        """The place of the image in the data on a curve, so that a Gaussian is never near it."""
        flat = x.flatten(1)
        place = torch.cdist(flat, self.images.flatten(1)).argmin(1).double()
        return Posterior(torch.stack([place, place**2 % 1009 * 1e3], 1).float())

    def decode(self, z):
        exact = (z[:, 0] == z[:, 0].round()) & (z[:, 0] >= 0)
        chosen = self.images[z[:, 0].round().clamp(0, len(self.images) - 1).long()]
        zeros = self.zeros[z[:, 0].abs().long() % len(self.zeros)]
        return torch.where(exact[:, None, None, None], chosen, zeros)


def test_a_sampler_of_one_digit_misses_the_others(mnist_small, context):
    train, test = (split.images[:500].float() / 255 for split in (mnist_small.train, mnist_small.test))
    zeros = train[mnist_small.train.labels[:500] == 0]
    data = ImageData(
        "small",
        Split(mnist_small.train.images[:500], mnist_small.train.labels[:500]),
        mnist_small.test,
        mnist_small.classes,
    )
    model = FarFromCodes(torch.cat([train, test]), zeros)
    found = missing_mass(Subject(model, DataContext(data, context.judges), seed=0))
    by_class = found.arrays["classes_moment"]
    assert by_class.argmin() == 0
    assert by_class[0] < 0.5
    assert by_class[1:].min() > 0.9
    assert {metric.name: metric.value for metric in found.metrics}["missing_classes_moment"] == 9


def test_data_without_labels_have_no_judge(vae, mnist_small):
    split = Split(mnist_small.test.images[:40], None)
    subject = Subject(vae.model, DataContext(ImageData("few", split, split, ())), seed=0)
    reasons = {metric.reason for metric in missing_mass(subject).metrics}
    assert reasons == {"no judge: the data has no labels to train one on"}


def test_a_code_without_a_prior_has_the_moment_alone(ae):
    found = {metric.name: metric for metric in missing_mass(ae).metrics}
    assert "not trained to follow a prior" in found["missing_mass_prior"].reason
    assert found["missing_mass_moment"].value is not None


def test_a_learned_flow_misses_less_than_a_gaussian(pca, monkeypatch, tmp_path):
    monkeypatch.setattr(recipe, "VECTORS", FlowRecipe(width=64, blocks=2, steps=300, batch_size=128))
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    subject = Subject(pca.model, pca.context, seed=0)
    learned = missing_mass_flow(subject)
    found = {metric.name: metric.value for metric in (*learned.metrics, *missing_mass(subject).metrics)}
    assert found["missing_mass_flow"] < found["missing_mass_moment"]
    assert [metric.name for metric in learned.metrics] == [
        metric.name for metric in ANALYSES["missing_mass_flow"].metrics
    ]
    assert learned.arrays["classes_flow"].shape == (10,)


def test_a_discrete_code_has_no_flow_that_could_miss(subject_of):
    metrics = missing_mass_flow(subject_of("fsq", 4, hidden=64)).metrics
    assert {metric.value for metric in metrics} == {None}
    assert "the code is discrete" in metrics[0].reason
