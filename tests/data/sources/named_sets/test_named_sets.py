"""The data sets that need no download: MNIST, Fashion-MNIST from Debian, scikit-learn's digits."""

import gzip
import hashlib
import shutil
from importlib.resources import files

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from latentbench.data import DataError, load
from latentbench.data.reading.hash_split import in_test
from latentbench.data.sources.named_sets.fashion_mnist import DEBIAN_FOLDER
from latentbench.data.sources.named_sets.idx import read_images_and_labels
from latentbench.data.sources.named_sets.mnist import MD5


def test_mnist_is_the_published_mnist(mnist):
    assert mnist.image_shape == (1, 28, 28)
    assert mnist.classes == tuple("0123456789")
    # Label counts as listed in the literature, and the mean and deviation everyone normalises by.
    train_counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test_counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert torch.bincount(mnist.train.labels).tolist() == train_counts
    assert torch.bincount(mnist.test.labels).tolist() == test_counts
    pixels = mnist.train.images.double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std().item() == pytest.approx(0.3081, abs=5e-5)
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def test_mnist_fingerprint_is_fixed(mnist):
    assert mnist.fingerprint == "074578e2237b4ad3b906f628fe3f7216badf15100a52beccad2f9faeb1343271"


def test_bundled_files_have_the_sums_that_the_notice_lists():
    folder = files("latentbench.data") / "mnist_files"
    notice = (folder / "NOTICE.md").read_text()
    assert "Yann LeCun and Corinna Cortes" in notice
    assert "ShareAlike 3.0" in notice
    for name, md5 in MD5.items():
        assert f"| {name} | {md5} |" in notice
        assert hashlib.md5(gzip.decompress((folder / f"{name}.gz").read_bytes())).hexdigest() == md5


def test_a_swapped_mnist_file_is_noticed(tmp_path):
    for name in MD5:
        with (files("latentbench.data") / "mnist_files" / f"{name}.gz").open("rb") as source:
            (tmp_path / f"{name}.gz").write_bytes(source.read())
    shutil.copy(tmp_path / "t10k-labels-idx1-ubyte.gz", tmp_path / "train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz: MD5"):
        read_images_and_labels(tmp_path, "train", sums=MD5)


def test_digits_are_scikit_learns_scaled_to_full_range():
    data, bunch = load("digits"), load_digits()
    test = np.array([in_test(f"digits/{i}") for i in range(1797)])
    assert (len(data.train), len(data.test)) == (1504, 293)
    assert data.image_shape == (1, 8, 8)
    assert data.train.images.max() == 255
    for part, chosen in ((data.train, ~test), (data.test, test)):
        assert part.labels.tolist() == bunch.target[chosen].tolist()
        restored = part.images[:, 0].double() * 16 / 255
        assert np.abs(restored.numpy() - bunch.images[chosen]).max() < 0.04
    # Every digit is tested, by enough images to tell.
    assert torch.bincount(data.test.labels, minlength=10).min() >= 20


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_from_debian():
    data = load("fashion-mnist")
    assert data.image_shape == (1, 28, 28)
    assert torch.bincount(data.train.labels).tolist() == [6000] * 10
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.classes[9] == "ankle boot"
    assert data.train.labels[:5].tolist() == [9, 0, 0, 3, 0]
    assert (data.train.images.double() / 255).mean().item() == pytest.approx(0.2860, abs=5e-5)
