"""Analysis `coverage` on real models."""

import pytest
import torch

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.latent.density_gaps import CLASS_AREA, GAPS, coverage, first_of_each, in_use
from latentbench.data.images import ImageData, Split
from latentbench.models.protocols import Posterior


def gaussian(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


def test_dimensions_in_use():
    mean = torch.tensor([[0.0, 1.0, 5.0], [0.1, 1.0, -5.0]])
    assert in_use(Posterior(mean)).tolist() == [True, False, True]
    assert in_use(Posterior(mean, torch.zeros(2, 3))).tolist() == [False, False, True]


def test_analysis_of_a_vae(vae):
    measurement = coverage(vae)
    found = by_name(measurement)
    assert list(found) == [definition.name for definition in ANALYSES["coverage"].metrics]
    assert all(found[gap.name].value is not None and found[gap.name].se > 0 for gap in GAPS)
    assert {found[area.name].reason for area in CLASS_AREA} == {"the code does not have two dimensions"}
    assert 1 < found["intrinsic_dimension"].value < 5
    assert 0 < found["overlap_prior"].value < 1
    assert measurement.arrays == {}
    assert coverage(vae).metrics == measurement.metrics


def test_analysis_of_an_autoencoder_with_a_plane(ae):
    measurement = coverage(ae)
    found = by_name(measurement)
    for name in ("dead_zone_prior", "overlap_prior"):
        assert (found[name].value, found[name].reason) == (None, "a deterministic code has no prior")
    assert found["dead_zone_moment"].value is not None
    shapes = {name: array.shape for name, array in measurement.arrays.items()}
    assert shapes == {
        "codes": (3000, 2),
        "labels": (3000,),
        "plane_extent": (4,),
        "plane_dead": (100, 100),
        "plane_images": (1, 560, 560),
        "plane_class": (100, 100),
        "class_area": (10,),
    }
    assert measurement.arrays["class_area"].sum() == pytest.approx(1)


def test_a_deterministic_code_with_a_prior_is_compared_with_it(subject_of, ae):
    """A Wasserstein autoencoder's codes have no spread, but are trained to follow N(0, I)."""
    found = by_name(coverage(subject_of("wae", 2, hidden=64)))
    assert [name for name, metric in found.items() if metric.value is None] == ["dead_zone_means"]
    # A plain autoencoder's codes were not trained to follow the prior: they are far off.
    far = Subject(ae.model, ae.context, seed=0)
    far.model = NormalPrior(ae.model)
    assert found["overlap_prior"].value > by_name(coverage(far))["overlap_prior"].value + 0.1


class NormalPrior:
    """A model that claims its codes to follow N(0, I)."""

    normal_prior = True

    def __init__(self, model):
        self.encode, self.decode = model.encode, model.decode


class Encoder:
    """Unit vectors for codes, and no decoder."""

    def __init__(self, outputs):
        self.outputs = outputs

    def encode_image(self, x):
        return torch.nn.functional.normalize(x.flatten(1)[:, 200 : 200 + self.outputs] + 1, dim=1)

    def encode_text(self, captions):
        raise NotImplementedError


def test_codes_on_the_unit_sphere_are_measured(context):
    found = by_name(coverage(Subject(Encoder(16), context, seed=0)))
    assert found["dead_zone_moment"].value >= 0
    assert 0 <= found["overlap_moment"].value < 0.9


def test_constant_codes_have_no_coverage(context):
    metrics = coverage(Subject(Encoder(1), context, seed=0)).metrics
    assert {metric.reason for metric in metrics} == {"no dimension of the code is in use"}


def test_a_diverged_encoder_is_null(context):
    class Diverged(Encoder):
        def encode_image(self, x):
            return super().encode_image(x) * torch.nan

    metrics = coverage(Subject(Diverged(4), context, seed=0)).metrics
    assert {metric.reason for metric in metrics} == {"codes hold values that are not finite"}


def test_few_images_are_null(pca, mnist_small):
    few = Split(mnist_small.train.images[:99], mnist_small.train.labels[:99])
    data = ImageData("few", few, mnist_small.test, mnist_small.classes)
    metrics = coverage(Subject(pca.model, DataContext(data), seed=0)).metrics
    assert {metric.reason for metric in metrics} == {"fewer than 100 train images"}


def test_copies_of_codes_do_not_count():
    codes = gaussian(50, 3, 0)
    positions = first_of_each(torch.cat([codes, codes.flip(0), codes]))
    assert positions.tolist() == list(range(50))
