"""The 8x8 digits that come with scikit-learn, similar to MNIST but by other writers.

Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI repository (CC BY 4.0).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from latentbench.data.images import ImageData, Split
from latentbench.data.reading.hash_split import in_test
from latentbench.data.sources.named_sets.catalogue import dataset
from latentbench.data.sources.named_sets.class_names import DIGITS

INK_LEVELS = 16


@dataset("digits", "handwritten digits, 8x8 grey, 1,797 in all; comes with scikit-learn")
def digits() -> ImageData:
    """Load scikit-learn's digits: 8x8 grey, classes `"0"` to `"9"`, 1,504 train and 293 test.

    Values 0–16 are scaled to 0–255. The i-th image is a test image where
    `splitting.in_test(f"digits/{i}")`: a fixed split, about 1 in 6.
    """
    table = np.loadtxt(_file(), delimiter=",", dtype=np.uint8)
    ink, labels = table[:, :-1].reshape(-1, 1, 8, 8), torch.from_numpy(table[:, -1].astype(np.int64))
    images = torch.from_numpy(np.rint(ink * (255 / INK_LEVELS)).astype(np.uint8))
    test = torch.tensor([in_test(f"digits/{i}") for i in range(len(labels))])
    return ImageData("digits", Split(images[~test], labels[~test]), Split(images[test], labels[test]), DIGITS)


def _file() -> Path:
    """Return scikit-learn's file, of which the library itself is not needed: it takes a second to import."""
    library = find_spec("sklearn")
    assert library is not None
    assert library.origin is not None
    return Path(library.origin).parent / "datasets" / "data" / "digits.csv.gz"
