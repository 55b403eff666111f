from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentbench.data import ImageData, load

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
