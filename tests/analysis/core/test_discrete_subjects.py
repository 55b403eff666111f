"""Discrete codes in every analysis: measured where that makes sense, and null with a reason elsewhere."""

import math

import numpy as np
import pytest
import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.generation.sample_bank import SampleBank
from latentbench.models.protocols import Posterior


@pytest.fixture(scope="module")
def vq(subject_of):
    return subject_of("vq", 4, hidden=64, codes=32, epochs=40)


@pytest.fixture(scope="module")
def fsq(subject_of):
    """A plane of twenty-five codes: every one has many images."""
    return subject_of("fsq", 2, hidden=64)


BOTH = pytest.mark.parametrize("name", ["vq", "fsq"])


def measured(analysis, subject):
    return {metric.name: metric for metric in ANALYSES[analysis].measure(subject).metrics}


def test_discrete_subjects_have_no_normal_prior(vq, fsq, ae, vae, subject_of):
    wae = subject_of("wae", 2, hidden=64, epochs=1)
    assert [subject.is_discrete for subject in (vq, fsq, ae, vae, wae)] == [True, True, False, False, False]
    assert [subject.has_prior for subject in (vq, fsq, ae, vae, wae)] == [False, False, False, True, True]


@BOTH
def test_discrete_prior_is_uniform_at_every_position(name, request):
    subject = request.getfixturevalue(name)
    count = 6400
    codes = subject.once(SampleBank).codes("prior", count)
    assert torch.equal(codes, subject.once(SampleBank).codes("prior", count))
    indices = subject.indices(codes)
    assert torch.equal(subject.model.codes(indices), codes)
    sizes = subject.model.code_sizes
    assert indices.shape == (count, len(sizes))
    for values, size in zip(indices.T, sizes, strict=True):
        # Five standard deviations of a count.
        reach = 5 * math.sqrt(count / size)
        assert (values.bincount(minlength=size) - count / size).abs().max() < reach
    # Positions are drawn independently: as many distinct pairs as there are, or nearly.
    assert len(indices.unique(dim=0)) > 0.99 * math.prod(sizes)


def test_the_prior_of_continuous_codes_is_unchanged(vae):
    noise = torch.randn(10, 4, generator=vae.generator("sample prior"))
    assert torch.equal(vae.once(SampleBank).codes("prior", 10), noise)


def test_a_model_without_indices_has_none(ae):
    with pytest.raises(TypeError, match="AE has no discrete code"):
        ae.indices(torch.zeros(1, 2))


@BOTH
def test_the_rate_is_the_logarithm_of_the_number_of_codes(name, request):
    subject = request.getfixturevalue(name)
    found = measured("likelihood", subject)
    rate = found.pop("kl")
    expected = {"vq": 2 * math.log(32), "fsq": 2 * math.log(5)}[name]
    assert (rate.value, rate.se, rate.n) == (pytest.approx(expected), None, 500)
    assert {metric.reason for metric in found.values()} == {"discrete code: no density of z"}


@BOTH
def test_the_entropy_is_at_most_the_rate(name, request):
    subject = request.getfixturevalue(name)
    found = measured("codebook", subject)
    assert 0 < found["code_entropy"].value < measured("likelihood", subject)["kl"].value
    assert 1 < found["code_perplexity"].value < subject.model.code_sizes[0]
    assert 0.5 < found["code_usage"].value <= 1


@BOTH
def test_coverage_by_a_density_is_null(name, request):
    metrics = ANALYSES["coverage"].measure(request.getfixturevalue(name)).metrics
    assert {(metric.value, metric.reason) for metric in metrics} == {
        (None, "discrete code: it has no density to compare with")
    }
    assert len(metrics) == len(ANALYSES["coverage"].metrics)


def test_the_plane_of_a_discrete_code(fsq):
    arrays = ANALYSES["coverage"].measure(fsq).arrays
    assert set(arrays) >= {"codes", "labels", "plane_dead", "plane_images", "plane_class", "class_area"}
    assert arrays["class_area"].sum() == pytest.approx(1)
    # Each of the lattice's cells is dead as a whole, or not at all: just those that no image is in.
    left, right, bottom, top = arrays["plane_extent"]
    middles = (np.arange(100) + 0.5) / 100
    x, y = np.meshgrid(left + middles * (right - left), top - middles * (top - bottom))
    cells = [np.clip(np.round(2 * axis), -2, 2) / 2 for axis in (x, y)]
    inhabited = {tuple(code) for code in fsq.train_codes.mean.tolist()}
    expected = [
        [cell not in inhabited for cell in zip(*row, strict=True)] for row in zip(*cells, strict=True)
    ]
    assert 1 < len(inhabited) < 26
    assert (arrays["plane_dead"] == np.array(expected)).mean() > 0.995


class Lattice:
    """Two dimensions of three values; `chosen` of an image's brightness are its indices."""

    code_sizes = (3, 3)

    def __init__(self, chosen):
        self.chosen = chosen

    def encode(self, x):
        return Posterior(self.codes(self.chosen((x.flatten(1).mean(1) * 20).long() % 3)))

    def decode(self, z):
        return (z.mean(1)[:, None, None, None] / 4 + 0.5).expand(-1, 1, 28, 28)

    def indices(self, z):
        return z.round().clamp(-1, 1).long() + 1

    def codes(self, indices):
        return indices.float() - 1


def test_an_empty_code_is_a_dead_zone_of_the_plane(context):
    """Only the codes (0, 0), (1, 2) and (2, 1) occur: the other six cells of the plane are dead."""
    model = Lattice(lambda i: torch.stack([i, (3 - i) % 3], dim=1))
    arrays = ANALYSES["coverage"].measure(Subject(model, context, seed=0)).arrays
    left, right, bottom, top = arrays["plane_extent"]

    def dead_at(x, y):
        row, column = (top - y) / (top - bottom), (x - left) / (right - left)
        return bool(arrays["plane_dead"][int(100 * row), int(100 * column)])

    living = {(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if not dead_at(x, y)}
    assert living == {(-1, -1), (0, 1), (1, 0)}


@pytest.mark.parametrize(
    "chosen", [lambda i: torch.stack([i, i], dim=1), lambda i: torch.stack([i, 0 * i + 1], dim=1)]
)
def test_codes_on_one_line_have_no_plane(context, chosen):
    measurement = ANALYSES["coverage"].measure(Subject(Lattice(chosen), context, seed=0))
    assert measurement.arrays == {}
    assert all(metric.value is None for metric in measurement.metrics)


@BOTH
@pytest.mark.parametrize("analysis", ["reconstruction", "sampling", "probe", "embedding"])
def test_the_other_analyses_take_the_many_duplicates(analysis, name, request):
    subject = request.getfixturevalue(name)
    codes = subject.test_codes.mean
    assert len(codes.unique(dim=0)) < len(codes)
    found = measured(analysis, subject)
    for metric in ANALYSES[analysis].metrics:
        if metric.name.startswith(("mse", "frechet", "precision", "probe", "umap")):
            if metric.name.endswith(("_pooled", "_pca256")):
                continue  # of grids alone
            assert math.isfinite(found[metric.name].value), metric.name
    # The results repeat for any choice among equal neighbours.
    again = measured(analysis, Subject(subject.model, subject.context, seed=0))
    assert again == found


@BOTH
def test_the_probes_see_what_the_codes_tell(name, request):
    found = measured("probe", request.getfixturevalue(name))
    assert found["probe_linear"].value > 0.3
    assert found["probe_knn"].value > 0.3
