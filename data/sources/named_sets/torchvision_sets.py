"""Data sets read by torchvision's own classes: from disk if they are there, else downloaded.

They are in the folder that the environment variable `LATENTBENCH_DATA` names, else in the
user's cache folder. Files may also be placed there by hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.data.errors import DataError
from latentbench.data.images import ImageData, Split
from latentbench.data.sources.named_sets.catalogue import dataset
from latentbench.data.sources.named_sets.class_names import DIGITS

ROOT_VARIABLE = "LATENTBENCH_DATA"


def data_root() -> Path:
    """Return the folder for downloads: `$LATENTBENCH_DATA`, else the user's cache folder."""
    chosen = os.environ.get(ROOT_VARIABLE)
    return (
        Path(chosen).expanduser().absolute()
        if chosen
        else platformdirs.user_cache_path("latentbench") / "data"
    )


def fetch(name: str, folder: Path, files: str, build: Callable[[bool], Any]) -> tuple[Any, Any]:
    """Build torchvision's train and test sets, downloading what is not there.

    `build(train)` makes one of the two. `folder` is where torchvision looks for `files`; both only
    serve the `DataError` raised if reading or downloading fails.
    """
    with placed(name, folder, files):
        return build(True), build(False)


@contextmanager
def placed(name: str, folder: Path, files: str) -> Iterator[None]:
    """Make any error of torchvision a `DataError` that says where `files` can be placed by hand."""
    try:
        yield
    except Exception as error:  # torchvision raises any error of its parser or download
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{name}: could not be read from or downloaded to {folder} ({type(error).__name__}: {reason}); "
            f"place {files} there by hand (removing any damaged copy), "
            f"or set {ROOT_VARIABLE} to a folder that has them"
        ) from error


def mnist_like(name: str, torchvision_class: str, classes: tuple[str, ...]) -> ImageData:
    """Load one of torchvision's data sets in the form of MNIST: 28x28 grey, with MNIST's file names."""
    from torchvision import datasets  # torchvision takes seconds to import

    kind = getattr(datasets, torchvision_class)
    root = data_root()
    train, test = fetch(
        name,
        root / torchvision_class / "raw",
        "train- and t10k-images-idx3-ubyte.gz and -labels-idx1-ubyte.gz",
        lambda train: kind(root, train=train, download=True),
    )
    return ImageData(name, _grey(train.data, train.targets), _grey(test.data, test.targets), classes)


@dataset("kmnist", "cursive Japanese characters, 28x28 grey, 60,000 train and 10,000 test; downloaded")
def kmnist() -> ImageData:
    """Load Kuzushiji-MNIST (Clanuwat et al. 2018, CC BY-SA 4.0): 28x28 grey, ten hiragana."""
    return mnist_like("kmnist", "KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"))


@dataset("emnist-letters", "handwritten letters, 28x28 grey, 124,800 train and 20,800 test; downloaded")
def emnist_letters() -> ImageData:
    """Load EMNIST's letters (Cohen et al. 2017): 28x28 grey, 26 classes, both cases of a letter in one.

    The published files number the letters from 1 and store each image transposed; here they count
    from 0 and stand upright.
    """
    from torchvision import datasets

    root = data_root()
    train, test = fetch(
        "emnist-letters",
        root / "EMNIST" / "raw",
        "gzip.zip, or emnist-letters-{train,test}-{images-idx3,labels-idx1}-ubyte unpacked from it,",
        lambda train: datasets.EMNIST(root, "letters", train=train, download=True),
    )
    train_split, test_split = (
        _grey(part.data.transpose(1, 2).contiguous(), part.targets - 1) for part in (train, test)
    )
    return ImageData("emnist-letters", train_split, test_split, tuple("abcdefghijklmnopqrstuvwxyz"))


@dataset("cifar10", "small photographs, 32x32 colour, 50,000 train and 10,000 test; downloaded")
def cifar10() -> ImageData:
    """Load CIFAR-10 (Krizhevsky 2009): 32x32 colour, ten classes from airplane to truck."""
    from torchvision import datasets

    root = data_root()
    train, test = fetch(
        "cifar10",
        root,
        "cifar-10-python.tar.gz",
        lambda train: datasets.CIFAR10(root, train=train, download=True),
    )
    train_split, test_split = (
        _colour(part.data.transpose(0, 3, 1, 2), np.asarray(part.targets)) for part in (train, test)
    )
    return ImageData("cifar10", train_split, test_split, tuple(train.classes))


@dataset("svhn", "house numbers in photographs, 32x32 colour, 73,257 train and 26,032 test; downloaded")
def svhn() -> ImageData:
    """Load SVHN, cropped digits (Netzer et al. 2011): 32x32 colour, classes `"0"` to `"9"`."""
    from torchvision import datasets

    folder = data_root() / "SVHN"
    train, test = fetch(
        "svhn",
        folder,
        "train_32x32.mat and test_32x32.mat",
        lambda train: datasets.SVHN(folder, split="train" if train else "test", download=True),
    )
    train_split, test_split = (_colour(part.data, part.labels) for part in (train, test))
    return ImageData("svhn", train_split, test_split, DIGITS)


def _grey(images: Tensor, labels: Tensor) -> Split:
    return Split(images.unsqueeze(1), labels.long())


def _colour(images: NDArray[np.uint8], labels: NDArray[Any]) -> Split:
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)))
