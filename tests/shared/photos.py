"""A folder of photographs of noise, whose test images are a prime number."""

import numpy as np
from PIL import Image

PRIME = 101


def write_photos(folder):
    """Write 24 train images and a prime number of test images of 128 pixels, which are three batches."""
    draws = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", PRIME)):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            pixels = draws.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((128, 128)).save(folder / split / f"{number:03}.png")
