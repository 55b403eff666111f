"""The transform makes a square of an image of any size."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from latentbench.data.reading.transform import MOST_SCALED_PIXELS, Transform, of_bounded_length


@pytest.mark.parametrize("shape", [(50, 70), (71, 50), (50, 50), (20, 33), (200, 333), (30, 600), (900, 40)])
def test_pixels_are_those_of_torchvisions_resize(shape):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    expected = center_crop(resize(image, 32, InterpolationMode.BICUBIC), [32, 32])
    assert (np.asarray(Transform(32)(image)) == np.asarray(expected)).all()


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (2, 60_000)])
@pytest.mark.parametrize("shape", [(1024, 1024), (224, 336)])
def test_a_long_image_never_takes_much_memory(size, shape):
    image = of_bounded_length(Image.new("RGB", size), shape)
    scale = max(shape[0] / image.height, shape[1] / image.width)
    assert 0.9 * MOST_SCALED_PIXELS < scale**2 * image.width * image.height <= MOST_SCALED_PIXELS
    assert of_bounded_length(image, shape) is image


def test_a_very_long_image_is_cut_before_it_is_scaled():
    line = torch.zeros(10_000, 1, 3, dtype=torch.uint8)
    line[4990:5010] = 255
    result = np.asarray(Transform(1024)(Image.fromarray(line.numpy())))
    assert result.shape == (1024, 1024, 3)
    assert result.min() == 255


def test_without_a_crop_the_whole_image_is_scaled():
    image = Image.fromarray(np.repeat([[0] * 30, [255] * 30], 5, axis=0).astype(np.uint8))
    pixels = np.asarray(Transform(10, crop="none", resize="box")(image))
    assert (pixels[:5] == 0).all()
    assert (pixels[5:] == 255).all()


def test_the_filter_is_the_one_asked_for():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8))
    results = {
        name: np.asarray(Transform(16, resize=name)(image)).tobytes()
        for name in ("bicubic", "lanczos", "bilinear", "box", "nearest")
    }
    assert results["lanczos"] == image.resize((16, 16), Image.Resampling.LANCZOS).tobytes()
    assert len(set(results.values())) == 5
