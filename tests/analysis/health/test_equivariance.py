"""Equivariance errors of encoders that commute with a transform, and of those that do not."""

import pytest
import torch

from latentbench.analysis.core.metric import Unmeasurable
from latentbench.analysis.health.equivariance import TRANSFORMS, errors, ratio, refusal

from .conftest import Pooling, noise


def measured(encode, name, images):
    means = encode(images).double().mean((0, 2, 3))
    return ratio(*errors(encode, images, means, TRANSFORMS[name])).value


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_average_pooling_commutes_with_every_transform(name):
    assert measured(lambda x: Pooling().encode(x).mean, name, noise(20, 3, 32, 32)) < 1e-12


@pytest.mark.parametrize("name", ["flip", "rotation"])
def test_weights_that_differ_by_position_do_not_commute(name):
    """Every position has its own sign, so that a moved code is unrelated to the code of the moved image."""
    sign = torch.randint(2, (8, 8), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    encode = lambda x: Pooling().encode(x).mean * sign  # noqa: E731
    assert 1.2 < measured(encode, name, noise(200, 3, 32, 32)) < 2.8


def test_the_error_does_not_depend_on_scale_and_offset():
    sign = torch.linspace(0, 1, 8)
    images = noise(30, 3, 32, 32)
    one = measured(lambda x: Pooling().encode(x).mean * sign, "flip", images)
    other = measured(lambda x: 50 + 7 * Pooling().encode(x).mean * sign, "flip", images)
    assert other == pytest.approx(one, rel=1e-3)


def test_an_encoder_for_one_size_has_no_scale():
    def fixed(x):
        if x.shape[-1] != 32:
            raise RuntimeError("expected 32 px")
        return Pooling().encode(x).mean

    with pytest.raises(Unmeasurable, match="takes no images of 16 px: expected 32 px"):
        measured(fixed, "scale", noise(4, 3, 32, 32))
    adaptive = lambda x: torch.nn.functional.adaptive_avg_pool2d(x, 8)  # noqa: E731
    with pytest.raises(Unmeasurable, match="gives 8×8 positions for images of 16 px, not 4×4"):
        measured(adaptive, "scale", noise(4, 3, 32, 32))


def test_codes_without_places_refuse():
    scale, flip = TRANSFORMS["scale"], TRANSFORMS["flip"]
    assert refusal((4, 8, 8), 32, flip) is None
    assert "vector" in refusal((16,), 32, flip)
    assert "tokens" in refusal((16, 4), 32, flip)
    assert "does not divide" in refusal((4, 5, 5), 32, flip)
    assert "cannot be halved" in refusal((4, 7, 7), 28, scale)
    assert refusal((4, 7, 7), 28, flip) is None
