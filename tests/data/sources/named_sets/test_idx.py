import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latentbench.data import DataError
from latentbench.data.sources.named_sets.idx import read_idx, read_images_and_labels


def idx(values: np.ndarray, kind: int = 0x08) -> bytes:
    return (
        bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    )


@settings(max_examples=60, deadline=None)
@given(
    values=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)),
    compress=st.booleans(),
)
def test_what_is_written_is_read_back(values, compress, tmp_path_factory):
    file = tmp_path_factory.mktemp("idx") / "values"
    file.write_bytes(gzip.compress(idx(values)) if compress else idx(values))
    read = read_idx(file)
    assert read.dtype == torch.uint8
    assert read.shape == values.shape
    assert (read.numpy() == values).all()


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 29))
def test_no_prefix_of_a_file_is_taken_for_the_file(cut, tmp_path_factory):
    whole = idx(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))
    file = tmp_path_factory.mktemp("idx") / "short-ubyte"
    file.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(DataError, match=r"short-ubyte.*fetch the file again"):
        read_idx(file)


def test_every_truncation_of_a_gzip_is_an_error(tmp_path):
    whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)))
    file = tmp_path / "train-images-idx3-ubyte.gz"
    for keep in range(2, len(whole)):
        file.write_bytes(whole[:keep])
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz.*fetch the file again"):
            read_idx(file)


def test_a_flipped_bit_in_a_gzip_is_an_error(tmp_path):
    damaged = bytearray(gzip.compress(idx(np.zeros((4, 8, 8), np.uint8))))
    damaged[len(damaged) // 2] ^= 0x10
    (tmp_path / "a.gz").write_bytes(damaged)
    with pytest.raises(DataError, match=r"a\.gz.*damaged or truncated"):
        read_idx(tmp_path / "a.gz")


def test_trailing_bytes_are_an_error(tmp_path):
    (tmp_path / "a").write_bytes(idx(np.zeros((2, 2), np.uint8)) + b"x")
    with pytest.raises(DataError, match="header states 2x2 = 4 bytes, found 5"):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>404 Not Found</html>", "not IDX"),
        (b"", "not IDX .starts with nothing"),
        (bytes([0, 0, 8, 0]), "0 dimensions"),
        (idx(np.zeros(3, np.uint8), kind=0x0D), "type code 0x0d; only unsigned bytes"),
    ],
)
def test_files_in_another_format_than_idx_are_refused(tmp_path, content, message):
    (tmp_path / "page").write_bytes(content)
    with pytest.raises(DataError, match=f"page: .*{message}"):
        read_idx(tmp_path / "page")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.gz: No such file or directory; put the file there"):
        read_idx(tmp_path / "nowhere.gz")


def test_the_md5_is_that_of_the_uncompressed_bytes(tmp_path):
    content = idx(np.arange(4, dtype=np.uint8))
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    assert read_idx(tmp_path / "a.gz", md5=hashlib.md5(content).hexdigest()).tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"a\.gz: MD5 .* not 0000"):
        read_idx(tmp_path / "a.gz", md5="0000")


def write_pair(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))


def test_images_and_labels_come_as_a_split(tmp_path):
    pixels = np.arange(2 * 9, dtype=np.uint8).reshape(2, 3, 3)
    write_pair(tmp_path, pixels, np.array([7, 1], np.uint8))
    images, labels = read_images_and_labels(tmp_path, "train")
    assert images.shape == (2, 1, 3, 3)
    assert images[1, 0, 2, 2] == 17
    assert labels.dtype == torch.int64
    assert labels.tolist() == [7, 1]


def test_images_and_labels_must_agree(tmp_path):
    write_pair(tmp_path, np.zeros((3, 8, 8), np.uint8), np.zeros(2, np.uint8))
    with pytest.raises(DataError, match="train has 3 images but 2 labels"):
        read_images_and_labels(tmp_path, "train")
    write_pair(tmp_path, np.zeros(2, np.uint8), np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(DataError, match="may be swapped"):
        read_images_and_labels(tmp_path, "train")
