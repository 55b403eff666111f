"""Image sources: a stable order, original sizes, and a fingerprint of what they hold."""

import numpy as np
import pytest
import torch
from PIL import Image

from latentbench.data import DataError, Split
from latentbench.data.reading.decoding import decode
from latentbench.data.reading.image_source import ArraySource
from latentbench.data.reading.transform import Transform
from latentbench.data.sources.image_folder import folder_sources
from latentbench.data.sources.zero_shot_folder import prompted_sources

PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 12, 12), dtype=np.uint8))


def pixels_of(source):
    return np.concatenate([batch.pixels for batch in decode(source, Transform(12))])


@pytest.fixture
def array():
    return ArraySource(Split(PIXELS, torch.arange(6) % 2), ("a", "b"))


@pytest.fixture
def folder(tmp_path):
    """The same images as files, in class folders of train/ and of test/."""
    for part in ("train", "test"):
        for index, image in enumerate(PIXELS):
            file = tmp_path / part / "ab"[index % 2] / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    return tmp_path


def test_images_are_opened_at_their_original_size(write_image, tmp_path):
    write_image("train/a/1.png", (1, 2, 3), size=(30, 20))
    write_image("test/a/1.png", size=(7, 9))
    sources = folder_sources(tmp_path)
    assert sources.train.open(0).size == (30, 20)
    assert sources.test.open(0).size == (7, 9)
    assert sources.train.names == ("train/a/1.png",)


def test_sources_of_equal_images_decode_alike(array, folder):
    source = folder_sources(folder).train
    order = [int(name.split("/")[-1][0]) for name in source.names]
    assert (pixels_of(source) == pixels_of(array)[order]).all()
    assert source.labels == tuple(index % 2 for index in order)


def test_shards_partition_a_source(array, folder):
    for source in (array, folder_sources(folder).test):
        parts = [source.shard(index, 4) for index in range(4)]
        assert [len(part) for part in parts] == [2, 2, 1, 1]
        assert sum(int(pixels_of(part).sum(dtype=np.int64)) for part in parts) == PIXELS.long().sum()
        assert parts[1].labels == source.labels[1::4]
        with pytest.raises(DataError, match=r"shard 4 of 4: the index must be 0 to 3"):
            source.shard(4, 4)


def test_the_fingerprint_follows_names_contents_and_labels(folder):
    before = folder_sources(folder).test.fingerprint
    assert folder_sources(folder).test.fingerprint == before
    (folder / "test" / "a" / "0.png").rename(folder / "test" / "a" / "7.png")
    renamed = folder_sources(folder).test.fingerprint
    (folder / "test" / "a" / "7.png").rename(folder / "test" / "b" / "7.png")
    moved = folder_sources(folder).test.fingerprint
    Image.new("RGB", (12, 12)).save(folder / "test" / "b" / "7.png")
    assert len({before, renamed, moved, folder_sources(folder).test.fingerprint}) == 4


def test_the_fingerprint_of_an_array_follows_its_pixels(array):
    changed = PIXELS.clone()
    changed[5, 2, 11, 11] ^= 1
    other = ArraySource(Split(changed, array.split.labels), array.classes)
    assert ArraySource(Split(PIXELS.clone(), array.split.labels), ("a", "b")).fingerprint == array.fingerprint
    assert other.fingerprint != array.fingerprint


def test_a_zero_shot_folder_is_a_source(folder):
    (folder / "classes.txt").write_text("first\nsecond\n")
    source = prompted_sources(folder).test
    assert source.classes == ("first", "second")
    assert source.names[0] == "test/a/0.png"
    assert len(source) == 6
