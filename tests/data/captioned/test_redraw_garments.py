"""Redrawn garments have the size and brightness asked for, measured on grey shapes."""

import pytest
import torch

from latentbench.data.captioned.redraw_garments import FAINTEST, relight


@pytest.fixture(scope="module")
def images(garments):
    return garments.test.images[:300]


@pytest.mark.parametrize("extent", [14.0, 20.0, 26.0])
@pytest.mark.parametrize("brightness", [0.25, 0.5, 0.75])
def test_size_and_brightness_are_those_asked_for(
    images, extent, brightness, measure_extent, measure_brightness
):
    count = len(images)
    drawn = relight(images, extent=torch.full((count,), extent), brightness=torch.full((count,), brightness))
    assert drawn.dtype == torch.uint8
    assert drawn.shape == images.shape
    assert (measure_extent(drawn) - extent).abs().max() <= 2
    assert (measure_extent(drawn) - extent).abs().mean() < 1
    off = (measure_brightness(drawn) - brightness).abs()
    assert off.mean() < 0.01
    assert off.max() < 0.1


def test_each_image_is_changed_on_its_own(images):
    sizes = torch.tensor([14.0, 20.0, 26.0]).repeat(100)
    together = relight(images, extent=sizes, brightness=torch.full((300,), 0.5))
    alone = relight(images[7:8], extent=sizes[7:8], brightness=torch.tensor([0.5]))
    assert torch.equal(together[7:8], alone)


def test_object_is_in_the_middle(images):
    drawn = relight(images, extent=torch.full((300,), 14.0), brightness=torch.full((300,), 0.5))
    for dim in (1, 2):
        occupied = (drawn[:, 0] >= FAINTEST).any(dim)
        first, last = occupied.byte().argmax(1), 27 - occupied.flip(1).byte().argmax(1)
        assert ((first + last) / 2 - 13.5).abs().max() <= 1


def test_the_order_of_grey_values_is_kept(measure_brightness):
    ramp = torch.arange(28, dtype=torch.uint8).mul(9).add(12).clamp(max=255).repeat(1, 1, 28, 1)
    drawn = relight(ramp, extent=torch.tensor([28.0]), brightness=torch.tensor([0.3]))
    assert (drawn[0, 0, 14].int().diff() >= 0).all()
    assert measure_brightness(drawn).item() == pytest.approx(0.3, abs=0.01)


def test_an_empty_image_stays_empty(measure_extent, measure_brightness):
    empty = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    drawn = relight(empty, extent=torch.tensor([20.0]), brightness=torch.tensor([0.5]))
    assert not drawn.any()
    assert measure_extent(drawn).item() == 0
    assert measure_brightness(drawn).isnan().all()
