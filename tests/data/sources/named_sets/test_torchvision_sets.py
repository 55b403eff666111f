"""torchvision's real readers on small files in the published formats.

Files are written where a user would place them by hand. Sums that torchvision insists on are set to
those of the small files; nothing of the reading is replaced.
"""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from latentbench.data import DataError, load
from latentbench.data.sources.named_sets.torchvision_sets import ROOT_VARIABLE, data_root

PIXELS = np.random.default_rng(0).integers(0, 256, (26, 28, 28), dtype=np.uint8)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    return tmp_path


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx(folder: Path, prefix: str, images: np.ndarray, labels: list[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.array(labels, np.uint8)))


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def test_root_is_the_variable_or_the_users_cache(root, monkeypatch):
    assert data_root() == root
    monkeypatch.delenv(ROOT_VARIABLE)
    assert data_root().parts[-2:] == ("latentbench", "data")


def test_kmnist(root):
    write_idx(root / "KMNIST" / "raw", "train", PIXELS[:5], [0, 9, 3, 3, 1])
    write_idx(root / "KMNIST" / "raw", "t10k", PIXELS[5:7], [2, 4])
    data = load("kmnist")
    assert (data.train.images[:, 0].numpy() == PIXELS[:5]).all()
    assert (data.test.images[:, 0].numpy() == PIXELS[5:7]).all()
    assert [data.classes[label] for label in data.train.labels] == ["o", "wo", "tsu", "tsu", "ki"]


def test_a_gzip_placed_by_hand_is_unpacked_by_torchvision(root, monkeypatch):
    folder = root / "KMNIST" / "raw"
    write_idx(folder, "train", PIXELS[:5], [0, 9, 3, 3, 1])
    write_idx(folder, "t10k", PIXELS[5:7], [2, 4])
    resources = []
    for plain in sorted(folder.iterdir()):
        packed = folder / f"{plain.name}.gz"
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
        resources.append((packed.name, md5(packed)))
    monkeypatch.setattr(datasets.KMNIST, "resources", resources)
    assert (load("kmnist").test.images[:, 0].numpy() == PIXELS[5:7]).all()


def test_emnist_letters_count_from_zero_and_stand_upright(root):
    letter = np.zeros((28, 28), np.uint8)
    letter[3, 20] = 200  # row 3, column 20
    folder = root / "EMNIST" / "raw"
    stored = np.stack([letter.T] * 26)  # the published files hold every image transposed
    write_idx(folder, "emnist-letters-train", stored, list(range(1, 27)))
    write_idx(folder, "emnist-letters-test", stored[:1], [26])
    data = load("emnist-letters")
    assert len(data.classes) == 26
    assert data.train.labels.tolist() == list(range(26))
    assert data.classes[data.test.labels[0]] == "z"
    assert data.train.images[4, 0, 3, 20] == 200
    assert data.train.images[4].sum() == 200


def test_fashion_mnist_comes_from_torchvision_without_debian(root, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "latentbench.data.sources.named_sets.fashion_mnist.DEBIAN_FOLDER", tmp_path / "absent"
    )
    write_idx(root / "FashionMNIST" / "raw", "train", PIXELS[:3], [0, 9, 1])
    write_idx(root / "FashionMNIST" / "raw", "t10k", PIXELS[3:4], [2])
    data = load("fashion-mnist")
    assert (data.train.images[:, 0].numpy() == PIXELS[:3]).all()
    assert data.classes[data.train.labels[1]] == "ankle boot"


def test_cifar10(root, monkeypatch):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)

    def write(name: str, content: object) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return [name, md5(folder / name)]

    batches = [
        write(f"data_batch_{i + 1}", {"data": pixels[2 * i : 2 * i + 2].reshape(2, -1), "labels": [i, 9]})
        for i in range(5)
    ]
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    test = write("test_batch", {"data": pixels[10:].reshape(2, -1), "labels": [3, 4]})
    meta = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", batches)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [test])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": meta[1]})
    data = load("cifar10")
    assert (data.train.images.numpy() == pixels[:10]).all()
    assert (data.test.images.numpy() == pixels[10:]).all()
    assert data.train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert data.classes[3] == "cat"


def test_svhn(root, monkeypatch):
    folder = root / "SVHN"
    folder.mkdir()
    pixels = np.random.default_rng(2).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    parts = {"train": (pixels[:3], [10, 1, 9]), "test": (pixels[3:], [2, 10])}
    listed = {}
    for part, (images, labels) in parts.items():
        file = folder / f"{part}_32x32.mat"
        savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": np.array(labels, np.uint8)[:, None]})
        listed[part] = ["", file.name, md5(file)]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    data = load("svhn")
    assert (data.train.images.numpy() == pixels[:3]).all()
    assert data.train.labels.tolist() == [0, 1, 9]  # SVHN writes 10 for the digit 0
    assert data.test.labels.tolist() == [2, 0]
    assert data.train.images.dtype == torch.uint8


def test_a_damaged_file_is_one_clear_error(root):
    write_idx(root / "KMNIST" / "raw", "train", PIXELS[:5], [0, 9, 3, 3, 1])
    write_idx(root / "KMNIST" / "raw", "t10k", PIXELS[5:7], [2, 4])
    damaged = root / "KMNIST" / "raw" / "t10k-images-idx3-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(
        DataError, match=r"kmnist: could not be read .*KMNIST/raw .*removing any damaged copy"
    ):
        load("kmnist")


@pytest.mark.parametrize(
    ("name", "torchvision_class", "attribute", "value", "folder"),
    [
        ("kmnist", "KMNIST", "mirrors", ["http://localhost:9/"], "KMNIST/raw"),
        ("emnist-letters", "EMNIST", "url", "http://localhost:9/gzip.zip", "EMNIST/raw"),
        ("cifar10", "CIFAR10", "url", "http://localhost:9/cifar-10-python.tar.gz", ""),
        ("svhn", "SVHN", "split_list", {"train": ["http://localhost:9/a.mat", "a.mat", "0"]}, "SVHN"),
    ],
)
def test_a_failed_download_says_what_to_place_where(
    root, monkeypatch, name, torchvision_class, attribute, value, folder
):
    # Nothing listens on the discard port, so torchvision's own download fails at once.
    monkeypatch.setattr(getattr(datasets, torchvision_class), attribute, value)
    with pytest.raises(DataError) as caught:
        load(name)
    message = str(caught.value)
    assert message.startswith(f"{name}: could not be read from or downloaded to {root / folder}")
    assert f"by hand (removing any damaged copy), or set {ROOT_VARIABLE}" in message
    assert "\n" not in message
