"""Spectral slopes of images whose spectrum is known."""

import pytest
import torch

from latentbench.analysis.health.power_spectrum import PowerSpectrum, spectral_slope

from .conftest import noise


def with_amplitude(power, n=300, side=32, channels=2):
    """Images of random phases whose amplitude is frequency ** power."""
    axis = torch.fft.fftfreq(side) * side
    frequency = torch.hypot(axis[:, None], axis[None]).clamp_min(1)
    return torch.fft.ifft2(torch.fft.fft2(noise(n, channels, side, side)) * frequency**power).real


def blocks(images):
    return [PowerSpectrum.of(part) for part in images.tensor_split(10)]


@pytest.mark.parametrize("side", [6, 7, 32])
@pytest.mark.parametrize("amplitude", [0, -1, -0.5])
def test_slope_of_a_power_law_is_twice_its_amplitude(amplitude, side):
    found = spectral_slope(blocks(with_amplitude(amplitude, side=side)))
    assert found.value == pytest.approx(2 * amplitude, abs=4 * found.se + 0.005)
    assert found.se < 0.05


def test_power_is_the_variance_of_the_image():
    images = noise(50, 1, 16, 16)
    spectrum = PowerSpectrum.of(images)
    assert float(spectrum.total.sum()) / 50 / 256 == pytest.approx(
        images.flatten(1).var(1, correction=0).mean().item(), rel=1e-5
    )


def test_the_mean_of_an_image_has_no_part():
    images = with_amplitude(-1, n=20)
    assert PowerSpectrum.of(images + 100).slope == pytest.approx(PowerSpectrum.of(images).slope, abs=1e-3)


def test_small_grids_and_flat_images_have_no_slope():
    with pytest.raises(ValueError, match="a side of 4 has too few frequencies"):
        PowerSpectrum.of(noise(20, 3, 4, 4)).rings()
    with pytest.raises(ValueError, match="some frequency has no power"):
        PowerSpectrum.of(torch.ones(20, 3, 8, 8)).rings()
