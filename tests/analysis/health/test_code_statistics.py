"""Channel statistics of codes, next to their closed forms."""

import math

import pytest
import torch

from latentbench.analysis.health import code_statistics
from latentbench.analysis.health.code_statistics import CodeStatistics, participation

from .conftest import noise


def test_scale_and_shift_are_those_of_all_values():
    codes = 3 + 0.5 * noise(200, 4, 8, 8)
    found = CodeStatistics.of(codes)
    assert found.shift.value == pytest.approx(codes.double().mean().item(), rel=1e-9)
    assert found.scaling.value == pytest.approx(1 / codes.double().std(correction=0).item(), rel=1e-9)


def test_errors_are_over_images_not_positions():
    """All positions of an image are equal, so only images count."""
    codes = noise(400, 3, 1, 1).expand(-1, -1, 16, 16).contiguous()
    spread = [CodeStatistics.of(noise(400, 3, 1, 1, seed=seed)) for seed in range(100)]
    one = CodeStatistics.of(codes)
    shifts = torch.tensor([each.shift.value for each in spread])
    scales = torch.tensor([each.scaling.value for each in spread])
    assert one.shift.se == pytest.approx(shifts.std().item(), rel=0.25)
    assert one.scaling.se == pytest.approx(scales.std().item(), rel=0.25)


def test_images_needed_give_one_per_cent():
    """Independent values of N(0, 1): the relative error of 1/σ over n values is 1/√(2n), of the mean 1/√n."""
    found = CodeStatistics.of(noise(2000, 16))
    assert found.scaling.images_needed == pytest.approx(10_000 / 2 / 16, rel=0.1)
    assert found.shift.images_needed == pytest.approx(10_000 / 16, rel=0.1)


@pytest.mark.parametrize("shape", [(5,), (5, 3, 3), (9, 5)])
def test_channels_of_every_shape_of_code(shape):
    scale = torch.arange(1.0, 6.0)
    codes = noise(4000, *shape) * (scale[:, None, None] if len(shape) == 3 else scale)
    found = CodeStatistics.of(codes)
    assert found.deviations.tolist() == pytest.approx(scale.tolist(), rel=0.05)
    assert found.means.abs().max() < 0.2


@pytest.mark.parametrize("d", [2, 16, 64])
def test_participation_ratio_of_a_normal_is_its_width(d):
    n = 5000
    found = participation(noise(n, d))
    assert found.value == pytest.approx(d / (1 + (d + 1) / n), abs=4 * found.se + 0.01)
    assert 0 < found.se < 0.05 * d


def test_participation_ratio_follows_the_eigenvalues():
    scale = torch.tensor([3.0, 2.0, 1.0, 0.0])
    found = CodeStatistics.of(noise(50_000, 4) * scale)
    assert found.participation_ratio == pytest.approx(14**2 / (81 + 16 + 1), rel=0.02)
    values = found.eigenvalues
    assert found.participation_ratio == pytest.approx((values.sum() ** 2 / values.square().sum()).item())


def test_fewer_images_than_channels_have_no_participation_ratio():
    with pytest.raises(ValueError, match="20 images are too few for 32 channels"):
        participation(noise(20, 32))


def test_equal_codes_have_no_participation_ratio():
    assert math.isnan(CodeStatistics.of(torch.ones(30, 4)).participation_ratio)


def test_batches_and_shards_give_the_same_statistics(monkeypatch):
    codes = 100 + noise(97, 4, 3, 3)
    whole = CodeStatistics.of(codes)
    monkeypatch.setattr(code_statistics, "BLOCK_VALUES", 200)
    for parts in (CodeStatistics.of(codes), CodeStatistics.of(codes[:31]) + CodeStatistics.of(codes[31:])):
        assert torch.allclose(parts.channels.scatter, whole.channels.scatter, rtol=1e-9)
        assert parts.scaling.value == pytest.approx(whole.scaling.value, rel=1e-9)
        assert parts.scaling.se == pytest.approx(whole.scaling.se, rel=1e-9)
