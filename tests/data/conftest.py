from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentbench.data import ImageData, Split, load
from latentbench.data.captioned.redraw_garments import FAINTEST
from latentbench.data.sources.named_sets.class_names import GARMENTS as CLASSES

WriteImage = Callable[..., Path]


@pytest.fixture(scope="session")
def mnist() -> ImageData:
    return load("mnist")


@pytest.fixture
def write_image(tmp_path: Path) -> WriteImage:
    """Write a small image below tmp_path: one colour, or the pixels given."""

    def write(
        name: str, colour: tuple[int, ...] | int = 90, size: tuple[int, int] = (12, 12), **options: object
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[np.size(colour)]
        Image.new(mode, size, colour).save(file, **options)
        return file

    return write


def grey_things(images):
    """Digits swollen and blurred: smooth shapes of every grey, as garments are."""
    swollen = torch.nn.functional.max_pool2d(images.float(), 5, 1, 2)
    return torch.nn.functional.avg_pool2d(swollen, 5, 1, 2).round().to(torch.uint8)


@pytest.fixture(scope="session")
def garments(mnist):
    """400 such shapes for training and for testing, under Fashion-MNIST's names."""
    splits = (Split(grey_things(part.images[:400]), part.labels[:400]) for part in (mnist.train, mnist.test))
    return ImageData("garments", *splits, CLASSES)


def extent(images):
    """The longer side of the box of each garment's pixels, in pixels, `[N]`; 0 for an empty image."""
    garment = images[:, 0] >= FAINTEST
    sides = []
    for occupied in (garment.any(1), garment.any(2)):
        position = torch.arange(occupied.shape[1])
        last = position.where(occupied, -1).amax(1)
        first = position.where(occupied, occupied.shape[1]).amin(1)
        sides.append((last - first + 1).clamp(min=0))
    return torch.maximum(*sides).float()


def brightness(images):
    """Mean of each garment's pixels, in [0, 1], `[N]`; nan for an empty image."""
    pixels = images.flatten(1).float()
    garment = pixels >= FAINTEST
    return (pixels * garment).sum(1) / garment.sum(1) / 255


@pytest.fixture(scope="session")
def measure_extent():
    """The function `extent`, for tests in several modules."""
    return extent


@pytest.fixture(scope="session")
def measure_brightness():
    """The function `brightness`, for tests in several modules."""
    return brightness
