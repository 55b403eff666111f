"""Measures of samples are not fooled by a sampler whose samples are all one image among real ones."""

import pytest
import torch

from latentbench.analysis.core.data_context import to_float
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.generation.sample_quality import have_collapsed, sampling
from latentbench.models.protocols import Posterior

FAR = 100.0
"""The distance of the codes of images from where the prior draws."""


class CollapsesOnPrior:
    """Decode codes of images as another model does, and every draw of the prior to one real image."""

    def __init__(self, model, image):
        self.model, self.image = model, image

    def encode(self, x):
        mean = self.model.encode(x).mean + FAR
        return Posterior(mean, torch.full_like(mean, -20.0))

    def decode(self, z):
        near_codes = (z > FAR / 2).all(1)[:, None, None, None]
        return torch.where(near_codes, self.model.decode(z - FAR), self.image)


@pytest.fixture(scope="module")
def collapsed(pca, context):
    image = to_float(context.data.test.images)[3]
    subject = Subject(CollapsesOnPrior(pca.model, image), context, seed=0)
    return {metric.name: metric for metric in sampling(subject).metrics}


def test_precision_of_one_real_image_is_doubted(collapsed):
    precision = collapsed["precision_prior"]
    assert precision.value == 1.0
    assert precision.decisive is None
    assert precision.doubt == "collapsed"
    assert "Vendi score 1.00" in precision.reason
    assert collapsed["density_prior"].doubt == "collapsed"


def test_functional_dead_zone_is_null_where_samples_collapse(collapsed):
    assert collapsed["precision_posterior"].value < 0.9
    dead_zone = collapsed["functional_dead_zone_prior"]
    assert dead_zone.value is None
    assert "collapsed" in dead_zone.reason


def test_samples_that_vary_are_not_doubted(collapsed):
    for sampler in ("moment", "gmm10", "posterior"):
        assert collapsed[f"precision_{sampler}"].doubt is None
    assert collapsed["functional_dead_zone_moment"].value is not None


def test_measures_that_see_a_collapse_keep_their_value(collapsed):
    assert collapsed["coverage_prior"].decisive < collapsed["coverage_posterior"].decisive
    assert collapsed["frechet_prior"].decisive > collapsed["frechet_posterior"].decisive


@pytest.mark.parametrize(
    ("vendi", "reference", "expected"),
    [(1.2, 3.0, True), (1.4, 2.2, True), (2.5, 2.8, False), (4.1, 7.0, False), (1.0, 1.0, False)],
)
def test_a_collapse_halves_the_entropy(vendi, reference, expected):
    assert have_collapsed(vendi, reference) is expected
