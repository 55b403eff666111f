"""The two label-free feature spaces of the Fréchet distance."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from latentbench.analysis.core.data_context import DataContext, to_float
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.fidelity.generative_metrics import frechet_distance
from latentbench.analysis.generation import label_free_frechet
from latentbench.analysis.generation.code_samplers import NO_PRIOR
from latentbench.analysis.generation.label_free_frechet import (
    crosschecks,
    principal_components,
    untrained_network,
)
from latentbench.analysis.generation.sample_bank import SampleBank
from latentbench.analysis.statistics import moments
from latentbench.data.images import ImageData, Split
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, train_or_load


@pytest.fixture(scope="module")
def images(context):
    return context.data.train.images


def noise(*shape):
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def flat(images):
    return to_float(images).flatten(1).double()


def test_pixel_space_equals_scikit_learn_pca_up_to_sign(images):
    reference = PCA(64, svd_solver="full").fit(flat(images).numpy())
    others = to_float(images[:50]) * 0.7
    expected = reference.transform(others.flatten(1).double().numpy())
    found = principal_components(images)(others).numpy()
    # The axes of the smallest variances are close to each other: what all 64 span is what is asked of them.
    np.testing.assert_allclose(np.abs(found[:, :20]), np.abs(expected[:, :20]), atol=1e-6)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-6)


def test_few_pixels_have_as_many_components():
    few = noise(40, 1, 3, 3)
    projected = principal_components(few)(to_float(few))
    assert projected.shape == (40, 9)
    # All components: a rotation, which keeps every distance.
    torch.testing.assert_close(torch.cdist(projected, projected), torch.cdist(flat(few), flat(few)))


def test_untrained_network_is_fixed_and_keeps_global_rng(images):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, second = untrained_network(images), untrained_network(images)
    assert torch.equal(torch.random.get_rng_state(), before)
    hundred = to_float(images[:100])
    assert torch.equal(first(hundred), second(hundred))
    torch.testing.assert_close(first(hundred)[:10], first(hundred[:10]), atol=1e-4, rtol=1e-4)


def test_every_sampler_is_measured_in_both_spaces(pca, context):
    found = {metric.name: metric for metric in crosschecks(pca).metrics}
    assert list(found) == [definition.name for definition in ANALYSES["crosschecks"].metrics]
    stored = context.data.train.images[: len(context.data.test)]
    train, test = to_float(stored), to_float(context.data.test.images)
    for space, fit in (("pixels", principal_components), ("untrained", untrained_network)):
        features = fit(stored)
        floor = found[f"frechet_floor_{space}"]
        assert floor.value == pytest.approx(frechet_distance(features(train), features(test)))
        assert found[f"frechet_prior_{space}"].reason == NO_PRIOR
        for sampler in ("moment", "gmm10", "posterior"):
            metric = found[f"frechet_{sampler}_{space}"]
            expected = frechet_distance(
                features(torch.cat(list(pca.once(SampleBank).batches(sampler)))), features(test)
            )
            assert metric.value == pytest.approx(expected)
            assert metric.n == len(test)
            assert 0 < metric.se < metric.value
        assert found[f"frechet_posterior_{space}"].value > floor.value


def test_unlabelled_data_work_and_a_missing_decoder_is_null(context, subject_of):
    splits = [Split(split.images[:300], None) for split in (context.data.train, context.data.test)]
    data = ImageData("unnamed", *splits, ())
    model = train_or_load(Training(model_spec(family="pca", latent_dim=4), Recipe(), 0), data).model
    unlabelled = Subject(model, DataContext(data), seed=0)
    reasons = {metric.reason for metric in crosschecks(unlabelled).metrics if metric.value is None}
    assert reasons == {NO_PRIOR}
    clip = {metric.name: metric for metric in crosschecks(subject_of("clip", 8, epochs=1)).metrics}
    assert clip["frechet_prior_pixels"].value is None
    assert "decod" in clip["frechet_prior_pixels"].reason
    assert clip["frechet_floor_pixels"].value > 0


def test_samples_that_are_not_finite_are_null_with_a_reason(context, pca, monkeypatch):
    broken = Subject(pca.model, context, seed=0)
    nothing = torch.full((1, 1, 28, 28), torch.nan)
    monkeypatch.setattr(
        Subject, "decoded", lambda self, codes: iter([nothing.expand(len(codes), -1, -1, -1)])
    )
    metric = crosschecks(broken).metrics[1]
    assert metric.value is None
    assert metric.reason == "samples hold values that are not finite"


def test_components_of_few_large_images_need_no_pixel_matrix():
    """256 pixels a side: a matrix of pixels by pixels would take 300 GB."""
    photographs = noise(6, 3, 256, 256)
    projected = principal_components(photographs)(to_float(photographs))
    assert projected.shape == (6, 5)
    pixels = flat(photographs)
    torch.testing.assert_close(torch.cdist(projected, projected), torch.cdist(pixels, pixels))


def test_blocks_of_pixels_give_the_same_components(monkeypatch, images):
    """Neither many images nor many pixels are ever all floats; the result does not depend on it."""
    for stored in (images[:300, :, 10:20, 10:20], images[:90, :, 10:20, 10:20]):
        whole = principal_components(stored)(to_float(stored[:20]))
        with monkeypatch.context() as patch:
            patch.setattr(label_free_frechet, "AT_ONCE", 1700)
            patch.setattr(moments, "AT_ONCE", 1700)
            parts = principal_components(stored)(to_float(stored[:20]))
        torch.testing.assert_close(parts @ parts.T, whole @ whole.T, rtol=1e-9, atol=1e-9)


def test_large_images_are_fitted_to_some(monkeypatch, images):
    monkeypatch.setattr(label_free_frechet, "FITTED", 60)
    small = images[:, :, 10:18, 10:18]  # 64 pixels, more than are fitted
    some, same = (principal_components(each)(to_float(small[:5])) for each in (small[:200], small[:60]))
    assert some.shape == (5, 59)
    torch.testing.assert_close(some, same)


def test_components_of_few_and_of_many_images_agree(images):
    pixels = images[:300, :, 10:20, 10:20]  # 300 images of 100 pixels
    many = principal_components(pixels)(to_float(pixels[:5]))
    few = principal_components(pixels[:100])(to_float(pixels[:5]))
    reference = PCA(64, svd_solver="full").fit(flat(pixels[:100]).numpy())
    expected = reference.transform(flat(pixels[:5]).numpy())
    np.testing.assert_allclose(few.numpy() @ few.numpy().T, expected @ expected.T, atol=1e-8)
    assert not torch.allclose(many @ many.T, few @ few.T)
