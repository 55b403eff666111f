"""Every sampler of real models is measured; test_generative_metrics tests the formulas."""

import math

import numpy as np
import pytest
import torch
from prdc import compute_prdc

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.ensemble import judge_error
from latentbench.analysis.core.metric import Unmeasurable
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.fidelity.generative_metrics import frechet_distance
from latentbench.analysis.generation.code_samplers import NO_PRIOR
from latentbench.analysis.generation.sample_bank import SampleBank
from latentbench.analysis.generation.sample_metrics import KINDS
from latentbench.analysis.generation.sample_quality import sampling
from latentbench.analysis.stored.samplers import SAMPLERS
from latentbench.data.images import ImageData, Split
from latentbench.models.protocols import Posterior


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


def test_analysis_of_pca(pca, context):
    measurement = sampling(pca)
    found = by_name(measurement)
    assert list(found) == [definition.name for definition in ANALYSES["sampling"].metrics]
    assert found["frechet_prior"].reason == NO_PRIOR
    for sampler in ("moment", "gmm10", "posterior"):
        for number, view in enumerate(pca.once(SampleBank).judged(sampler)):
            real, samples = context.judged_test[number].features, view.features
            by_judge = {name: metric.by_judge[number] for name, metric in found.items() if metric.by_judge}
            expected = compute_prdc(real.double().numpy(), samples.double().numpy(), 3)
            assert by_judge[f"precision_{sampler}"] == pytest.approx(expected["precision"], abs=1e-6)
            assert by_judge[f"recall_{sampler}"] == pytest.approx(expected["recall"], abs=1e-6)
            expected = compute_prdc(real.double().numpy(), samples.double().numpy(), 5)
            assert by_judge[f"density_{sampler}"] == pytest.approx(expected["density"], abs=1e-6)
            assert by_judge[f"coverage_{sampler}"] == pytest.approx(expected["coverage"], abs=1e-6)
            assert by_judge[f"frechet_{sampler}"] == pytest.approx(frechet_distance(samples, real))
        frechet = found[f"frechet_{sampler}"]
        assert frechet.value == pytest.approx(np.mean(frechet.by_judge))
        assert found[f"frechet_{sampler}"].se > 0
        assert found[f"class_kl_{sampler}"].value > 0
        assert measurement.arrays[f"samples_{sampler}"].shape == (64, 1, 28, 28)
        assert measurement.arrays[f"samples_{sampler}"].dtype == np.uint8
    order = ["floor", "posterior", "gmm10", "moment"]
    distances = [found[f"frechet_{name}"].value for name in order]
    assert distances == sorted(distances)
    best, own = found["precision_posterior"], found["precision_moment"]
    gap = found["functional_dead_zone_moment"]
    assert gap.value == pytest.approx(best.value - own.value)
    assert gap.by_judge == pytest.approx(np.subtract(best.by_judge, own.by_judge))
    assert gap.se >= judge_error(gap.by_judge) > 0


def test_every_sampler_has_every_measure():
    names = {metric.name for analysis in ("sampling", "flow") for metric in ANALYSES[analysis].metrics}
    assert {f"{kind.name}_{sampler}" for kind in KINDS for sampler in SAMPLERS} < names
    assert {f"functional_dead_zone_{name}" for name in ("prior", "moment", "gmm10", "flow")} < names
    assert "functional_dead_zone_posterior" not in names


def test_posterior_samples_are_decoded_codes_of_train_images(vae):
    assert torch.equal(vae.once(SampleBank).codes("posterior", 7), vae.code_samples[:7])
    images = torch.cat(list(vae.once(SampleBank).batches("posterior")))
    assert torch.equal(images, vae.decode(vae.code_samples[: len(vae.data.test)]))


def test_a_mixture_finds_ten_clusters():
    """Ten clusters of known weights, means and covariances, far apart."""
    draws = torch.Generator().manual_seed(0)
    means = 20 * torch.randn(10, 3, generator=draws)
    chosen = torch.multinomial(torch.arange(1.0, 11.0), 10_000, replacement=True, generator=draws)
    points = means[chosen] + torch.randn(10_000, 3, generator=draws)
    subject = coded(points)
    samples = subject.once(SampleBank).codes("gmm10", 10_000)
    assert torch.equal(samples, subject.once(SampleBank).codes("gmm10", 10_000))
    distance, nearest = (samples[:, None] - means).norm(dim=2).min(1)
    assert distance.square().mean().item() == pytest.approx(3, rel=0.05)
    shares = nearest.bincount(minlength=10) / 10_000
    assert torch.allclose(shares, torch.arange(1.0, 11.0) / 55, atol=0.02)
    # Neighbours in the list are independent: an error over blocks of it means something.
    assert (nearest[1:] == nearest[:-1]).double().mean().item() == pytest.approx(
        shares.square().sum().item(), abs=0.02
    )


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (torch.randn(99, 2), "fewer than 100 codes to fit a mixture to"),
        (torch.randn(200, 20), "200 codes are too few for 10 covariances in 20-D"),
        (torch.ones(200, 2), "the codes are all the same"),
        (torch.full((200, 2), torch.nan), "codes hold values that are not finite"),
    ],
)
def test_where_no_mixture_can_be_fitted_there_are_no_samples(points, reason):
    with pytest.raises(Unmeasurable, match=reason):
        coded(points).once(SampleBank).codes("gmm10", 5)


def test_a_constant_direction_of_the_codes_stays_constant():
    points = torch.cat(
        [torch.randn(500, 1, generator=torch.Generator().manual_seed(0)), torch.ones(500, 1)], 1
    )
    samples = coded(points).once(SampleBank).codes("gmm10", 100)
    assert torch.equal(samples[:, 1], torch.ones(100))
    assert samples[:, 0].std() > 0.5


def coded(codes):
    """A subject whose images are its codes' numbers, and whose model looks them up."""
    count = len(codes)
    index = torch.arange(count)
    images = torch.stack([index // 256, index % 256], dim=1).to(torch.uint8).reshape(count, 1, 1, 2)
    split = Split(torch.nn.functional.pad(images, (0, 6, 0, 7)), None)

    class Lookup:
        def encode(self, x):
            high, low = (x[:, 0, 0, :2] * 255).round().long().unbind(1)
            return Posterior(codes[256 * high + low])

        def decode(self, z):
            raise NotImplementedError

    return Subject(Lookup(), DataContext(ImageData("numbered", split, split, ())), seed=0)


class Encoder:
    """A model without a decoder."""

    def encode_image(self, x):
        return torch.nn.functional.normalize(x.flatten(1), dim=1)

    def encode_text(self, captions):
        raise NotImplementedError


def test_without_a_decoder_only_real_images_are_measured(context):
    found = by_name(sampling(Subject(Encoder(), context, seed=0)))
    assert all(found.pop(name).value > 0 for name in ("frechet_floor", "kernel_floor", "vendi_test"))
    assert {(metric.value, metric.reason) for metric in found.values()} == {(None, "no decoder")}


def test_a_diverged_decoder_is_null(context, pca):
    class Diverged:
        encode = staticmethod(pca.model.encode)

        def decode(self, z):
            return pca.model.decode(z) * torch.nan

    found = by_name(sampling(Subject(Diverged(), context, seed=0)))
    assert found["frechet_moment"].value is None
    assert found["frechet_moment"].reason == "samples hold values that are not finite"


def test_a_constant_decoder_is_measured(context, pca):
    class Constant:
        encode = staticmethod(pca.model.encode)

        def decode(self, z):
            return pca.model.decode(torch.zeros_like(z))

    found = by_name(sampling(Subject(Constant(), context, seed=0)))
    assert found["recall_moment"].value == 0
    assert found["frechet_moment"].value > found["frechet_floor"].value
    assert found["class_kl_moment"].value > math.log(5)


def test_without_a_judge_nothing_is_known(pca, mnist_small):
    data = ImageData(
        "unlabelled", Split(mnist_small.train.images, None), Split(mnist_small.test.images, None), ()
    )
    metrics = sampling(Subject(pca.model, DataContext(data), seed=0)).metrics
    assert all(metric.value is None and "no labels" in metric.reason for metric in metrics)


def test_five_test_images_are_too_few(pca, context, mnist_small):
    few = ImageData(
        "few",
        mnist_small.train,
        Split(mnist_small.test.images[:5], mnist_small.test.labels[:5]),
        mnist_small.classes,
    )
    metrics = sampling(Subject(pca.model, DataContext(few, context.judges), seed=0)).metrics
    assert {metric.reason for metric in metrics} == {"fewer than 6 test images"}
