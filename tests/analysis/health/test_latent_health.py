"""Analysis `latent_health` on models whose health is known, and on real ones."""

import numpy as np
import pytest
import torch

from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.fidelity.generative_metrics import frechet_distance
from latentbench.analysis.health.latent_health import latent_health
from latentbench.analysis.health.noise import SIGMAS
from latentbench.models.protocols import Posterior

from .conftest import Identity, Pooling, Rows


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


def values(subject):
    return {name: metric.value for name, metric in by_name(latent_health(subject)).items()}


def test_every_metric_is_measured_in_order_on_a_grid(subject_with):
    measurement = latent_health(subject_with(Pooling()))
    assert [metric.name for metric in measurement.metrics] == [
        each.name for each in ANALYSES["latent_health"].metrics
    ]
    null = {metric.name for metric in measurement.metrics if metric.value is None}
    assert null == {"frechet_reconstruction", "frechet_interpolation"}  # without labels there is no judge


def test_pooling_is_equivariant_and_white_images_are_flat(subject_with):
    found = values(subject_with(Pooling(), count=200))
    for name in ("flip", "rotation", "shift", "scale"):
        assert found[f"equivariance_{name}"] == pytest.approx(0, abs=1e-10)
    assert found["spectral_slope_images"] == pytest.approx(0, abs=0.02)
    assert found["spectral_slope_codes"] == pytest.approx(0, abs=0.05)
    assert found["participation_ratio"] == pytest.approx(3, abs=0.05)
    # A uniform pixel has variance 1/12; 16 of them are averaged.
    assert found["scaling_factor"] == pytest.approx((16 * 12) ** 0.5, rel=0.02)
    assert found["shift_factor"] == pytest.approx(0.5, abs=0.01)


def test_noise_on_an_identity_is_its_own_size(subject_with):
    subject = subject_with(Identity())
    found, variance = values(subject), subject.test_codes.mean.double().var((0, 2, 3)).mean().item()
    for sigma in SIGMAS:
        assert found[f"noise_mse_{round(100 * sigma):03}"] == pytest.approx(sigma**2 * variance, rel=0.01)
    # The noise differs from one size to the next by its scale alone.
    assert found["noise_mse_050"] / found["noise_mse_005"] == pytest.approx(100, rel=1e-4)


def test_noise_is_scaled_to_each_channel(subject_with):
    class Scaled(Identity):
        scale = torch.tensor([1.0, 10.0, 100.0])[:, None, None]

        def encode(self, x):
            return Posterior(x * self.scale)

        def decode(self, z):
            return z / self.scale

    plain, scaled = (values(subject_with(each)) for each in (Identity(), Scaled()))
    assert scaled["noise_mse_010"] == pytest.approx(plain["noise_mse_010"], rel=1e-3)
    assert scaled["channel_range"] == pytest.approx(100, rel=0.02)


def test_vectors_have_no_places_and_tokens_neither(vae, subject_with):
    for subject, word in ((vae, "vector"), (subject_with(Rows(), images=grey(60)), "tokens")):
        found = by_name(latent_health(subject))
        for name in ("flip", "rotation", "shift", "scale"):
            assert word in found[f"equivariance_{name}"].reason
        assert found["spectral_slope_codes"].reason == "the code is no grid"
        assert found["participation_ratio"].value > 1
        assert found["noise_mse_010"].value > 0


def grey(count):
    return torch.randint(
        256, (count, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )


def test_constant_channels_are_counted_and_left_out(subject_with):
    class Dead(Identity):
        def encode(self, x):
            return Posterior(torch.cat([x, torch.zeros_like(x[:, :2])], 1))

        def decode(self, z):
            return z[:, :3]

    found = values(subject_with(Dead()))
    assert found["constant_channels"] == 2
    assert found["channel_range"] == pytest.approx(1, abs=0.05)
    assert found["participation_ratio"] == pytest.approx(3, abs=0.05)
    assert found["noise_mse_010"] > 0


def test_channels_that_are_not_finite_are_named(subject_with):
    class Broken(Identity):
        def encode(self, x):
            codes = x.clone()
            codes[:, 1] = torch.nan
            return Posterior(codes)

    reasons = {metric.reason for metric in latent_health(subject_with(Broken())).metrics}
    assert reasons == {"codes hold values that are not finite, in 1 of 3 channels, first in channel 1"}


@pytest.mark.parametrize("offsets", [(0.3, 0.3, 0.3), (0.1, 1.3, 2.7)])
def test_codes_that_are_all_the_same_are_null(subject_with, offsets):
    class Constant(Identity):
        def encode(self, x):
            return Posterior(torch.zeros_like(x) + torch.tensor(offsets)[:, None, None])

    reasons = {metric.reason for metric in latent_health(subject_with(Constant())).metrics}
    assert reasons == {"no channel of the codes varies"}


def test_fewer_images_than_channels_are_said(subject_with):
    class Wide(Identity):
        def encode(self, x):
            return Posterior(x.flatten(1)[:, :100])

        def decode(self, z):
            return z[:, :1, None, None].expand(-1, 3, 32, 32)

    found = by_name(latent_health(subject_with(Wide(), count=40)))
    assert found["participation_ratio"].reason == "40 images are too few for 100 channels in 10 blocks"
    assert found["scaling_factor"].value is not None


def test_discrete_codes_are_null_with_the_reason(subject_of):
    metrics = latent_health(subject_of("fsq", 4, hidden=64)).metrics
    assert len({metric.reason for metric in metrics}) == 1
    assert "discrete code" in metrics[0].reason


def test_interpolation_is_measured_by_every_judge(vae):
    found = by_name(latent_health(vae))
    judges = len(vae.context.judges)
    reconstructed, between = found["frechet_reconstruction"], found["frechet_interpolation"]
    assert len(reconstructed.by_judge) == len(between.by_judge) == judges
    expected = [
        frechet_distance(real.features, seen.features)
        for real, seen in zip(vae.context.judged_test, vae.tested.errors.judged, strict=True)
    ]
    assert reconstructed.by_judge == pytest.approx(expected, rel=1e-4)
    assert between.value > 0


def test_codes_of_posteriors_are_drawn_for_the_factors(vae):
    found = values(vae)
    drawn = vae.test_codes.rsample(generator=vae.generator("health codes"))
    assert found["scaling_factor"] == pytest.approx(1 / drawn.std(correction=0).item(), rel=1e-5)
    assert latent_health(vae).metrics == latent_health(vae).metrics


def test_arrays_are_those_of_the_figures(subject_with):
    arrays = latent_health(subject_with(Pooling())).arrays
    assert {name: array.shape for name, array in arrays.items()} == {
        "channel_means": (3,),
        "channel_deviations": (3,),
        "eigenvalues": (3,),
        "images_frequency": (16,),
        "images_power": (16,),
        "codes_frequency": (4,),
        "codes_power": (4,),
        "noise_sigma": (5,),
        "noise_mse": (5,),
    }
    assert np.all(np.diff(arrays["noise_mse"]) > 0)


def test_a_model_without_a_decoder_has_its_codes_measured(context):
    class Pixels:
        def encode(self, x):
            return Posterior(x.flatten(1)[:, 300:340])

    found = by_name(latent_health(Subject(Pixels(), context, seed=0)))
    assert found["noise_mse_010"].reason == found["frechet_interpolation"].reason == "no decoder"
    assert found["participation_ratio"].value > 1
