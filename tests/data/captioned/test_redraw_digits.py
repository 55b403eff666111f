"""Redrawn digits have the stroke width and slant asked for, measured on the drawn images."""

import math

import pytest
import torch
from torch import Tensor

from latentbench.data.captioned.draw import SLANT_SHEARS, STROKE_WIDTHS
from latentbench.data.captioned.redraw_digits import measure_slant, restyle


@pytest.fixture(scope="module")
def digits(mnist) -> Tensor:
    return mnist.test.images[:1500]


@pytest.fixture(scope="module")
def restyled(digits) -> dict[tuple[int, int], Tensor]:
    """Every digit in every style, by (stroke, slant)."""
    return {
        (i, j): restyle(digits, stroke_width=full(digits, width), slant=full(digits, shear))
        for i, width in enumerate(STROKE_WIDTHS)
        for j, shear in enumerate(SLANT_SHEARS)
    }


def full(digits: Tensor, value: float) -> Tensor:
    return torch.full((len(digits),), value)


def ink(images: Tensor) -> Tensor:
    return images.double().sum((1, 2, 3)) / 255


def line(slant: float, width: int = 3) -> Tensor:
    """A straight stroke whose ink moves `slant` pixels to the right per pixel downwards."""
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    for row in range(4, 24):
        column = round(14 + slant * (row - 13.5)) - width // 2
        image[0, 0, row, column : column + width] = 255
    return image


@pytest.mark.parametrize("slant", [-0.4, 0.0, 0.25, 0.4])
def test_measured_slant_of_a_drawn_line(slant):
    assert measure_slant(line(slant)).item() == pytest.approx(slant, abs=0.02)


def test_slant_of_nothing_is_nan():
    assert math.isnan(measure_slant(torch.zeros(1, 1, 28, 28)).item())


def test_slant_is_the_one_asked_for(restyled):
    for (_, j), images in restyled.items():
        slants = measure_slant(images)
        assert slants.mean().item() == pytest.approx(SLANT_SHEARS[j], abs=0.005)
        assert (slants - SLANT_SHEARS[j]).abs().max().item() < 0.05


def test_natural_slant_is_far_wider_than_what_is_left(digits):
    assert measure_slant(digits).std().item() > 0.2


def test_every_digit_has_more_ink_in_a_thicker_stroke(restyled):
    for j in range(3):
        thin, normal, bold = (ink(restyled[i, j]) for i in range(3))
        assert ((1.2 * thin < normal) & (1.1 * normal < bold)).double().mean().item() >= 0.99
        # Ink goes as the width asked for: 1.5 to 3 to 4.5 pixels.
        assert (normal / thin).median().item() == pytest.approx(2.0, rel=0.06)
        assert (bold / thin).median().item() == pytest.approx(3.0, rel=0.06)


@pytest.mark.parametrize("natural", [2, 3, 4])
@pytest.mark.parametrize("wanted", STROKE_WIDTHS)
def test_drawn_line_has_the_requested_width(natural, wanted):
    drawn = restyle(line(0.0, natural), stroke_width=torch.tensor([wanted]), slant=torch.zeros(1))
    across = drawn[0, 0, 12:16].double().sum(1).mean().item() / 255  # away from the line's ends
    assert across == pytest.approx(wanted, rel=0.3)


def test_stroke_and_slant_do_not_tell_the_digit(mnist, restyled):
    """The point of inducing them: natural slants differ between digits, induced ones do not."""
    labels = mnist.test.labels[:1500]

    def spread(values: Tensor) -> float:
        means = torch.stack([values[labels == digit].mean() for digit in range(10)])
        return means.std().item()

    natural = spread(measure_slant(mnist.test.images[:1500]))
    assert natural > 0.08
    assert all(spread(measure_slant(images)) < 0.002 for images in restyled.values())


def test_nothing_is_cut_off(restyled):
    for images in restyled.values():
        border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], -1)
        assert border.max() <= 48


def test_digits_are_centred_and_keep_their_pixels(restyled):
    for images in restyled.values():
        rows = images.amax((1, 3)) > 48
        top, bottom = rows.byte().argmax(1), 27 - rows.flip(1).byte().argmax(1)
        off_centre = ((top + bottom).float() / 2 - 13.5).abs()
        assert (off_centre <= 0.5).double().mean().item() > 0.99
    # Drawn anew at its own width and slant, a stroke stays what it was.
    again = restyle(line(0.3), stroke_width=torch.tensor([3.0]), slant=torch.tensor([0.3]))
    assert (again.int() - line(0.3).int()).abs().float().mean() < 12


def test_output_is_independent_of_batch_and_threads(digits):
    some = digits[:300]
    width, slant = torch.linspace(1.5, 4.5, 300), torch.linspace(-0.4, 0.4, 300)
    whole = restyle(some, stroke_width=width, slant=slant)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        picked = restyle(some[140:150], stroke_width=width[140:150], slant=slant[140:150])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert (whole[140:150] == picked).all()
    assert whole.dtype == torch.uint8
    assert whole.shape == (300, 1, 28, 28)


def test_a_blank_image_stays_blank():
    blank = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    assert restyle(blank, stroke_width=torch.tensor([3.0]), slant=torch.tensor([0.4])).sum() == 0
