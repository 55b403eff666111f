"""The file of decoded images: used again, shared, and made again when it is not what it should be."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from latentbench.data import DataError, LatentbenchError, load
from latentbench.data.reading import assembly, pixel_file
from latentbench.data.reading.pixel_file import MappedSplit, images_folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path):
    """Eight coloured images in train/ and four in test/, of two classes."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 4)):
        for index in range(count):
            file = tmp_path / "photos" / part / "ab"[index % 2] / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
    return tmp_path / "photos"


def no_decoding(*_, **__):
    raise AssertionError("images were decoded again")


def the_file(suffix="pixels"):
    (file,) = images_folder().glob(f"*.{suffix}")
    return file


def test_mapped_data_equal_data_in_memory(photos):
    mapped, kept = load(f"folder:{photos}?size=8", mapped=True), load(f"folder:{photos}?size=8")
    assert mapped.fingerprint == kept.fingerprint
    assert torch.equal(mapped.train.images[[5, 2]], kept.train.images[[5, 2]])
    assert mapped.test.labels.tolist() == kept.test.labels.tolist()
    assert not list(images_folder().glob(".*.tmp"))


def test_grey_images_are_stored_with_one_channel(photos):
    for index, file in enumerate(sorted(photos.rglob("*.png"))):
        Image.new("RGB", (16, 16), (index, index, index)).save(file)
    mapped, kept = load(f"folder:{photos}?size=8", mapped=True), load(f"folder:{photos}?size=8")
    assert mapped.image_shape == (1, 8, 8)
    assert mapped.fingerprint == kept.fingerprint
    assert the_file().stat().st_size == 12 * 64


def test_hashing_and_checking_show_how_far_they_are(photos, monkeypatch):
    monkeypatch.setattr(assembly, "BATCH", 3)
    monkeypatch.setattr(pixel_file, "HASHED_AT_ONCE_BYTES", 6 * 192)
    for after in (
        {("decoding images", 0), ("decoding images", 8), ("decoding images", 12)},
        {("checking decoded images", 0), ("checking decoded images", 6), ("checking decoded images", 12)},
    ):
        told = []
        load(f"folder:{photos}?size=8", mapped=True, progress=lambda *each, told=told: told.append(each))
        assert {total for _, _, total in told} == {12}
        assert [done for what, done, _ in told if what == "hashing images"] == [0, 3, 6, 9, 12]
        assert {(what, done) for what, done, _ in told if what != "hashing images"} == after


def test_the_file_is_used_again_for_the_same_images(photos, monkeypatch):
    first = load(f"folder:{photos}?size=8", mapped=True)
    monkeypatch.setattr(assembly, "decode", no_decoding)
    again = load(f"folder:{photos}?size=8", mapped=True)
    assert again.fingerprint == first.fingerprint
    assert again.notes == ()


@pytest.mark.parametrize("change", ["size=9", "size=8&crop=none", "size=8&resize=box", "size=8&limit=3"])
def test_another_transform_is_another_file(photos, change):
    load(f"folder:{photos}?size=8", mapped=True)
    load(f"folder:{photos}?{change}", mapped=True)
    assert len(list(images_folder().glob("*.pixels"))) == 2


def test_changed_images_are_decoded_again(photos):
    before = load(f"folder:{photos}?size=8", mapped=True)
    Image.new("RGB", (16, 16), "red").save(photos / "test" / "a" / "0.png")
    after = load(f"folder:{photos}?size=8", mapped=True)
    assert after.fingerprint != before.fingerprint
    assert after.fingerprint == load(f"folder:{photos}?size=8").fingerprint


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def flip(file):
    content = bytearray(file.read_bytes())
    content[50] ^= 1
    file.write_bytes(content)


def remove(file):
    file.unlink()


def of_another_transform(file):
    card = file.with_suffix(".json")
    card.write_text(card.read_text().replace('"center"', '"none"'))


def no_card(file):
    file.with_suffix(".json").write_text("{")


@pytest.mark.parametrize("damage", [cut, flip, remove, of_another_transform, no_card])
def test_a_damaged_file_is_made_again_with_a_line(photos, damage):
    before = load(f"folder:{photos}?size=8", mapped=True).fingerprint
    damage(the_file())
    data = load(f"folder:{photos}?size=8", mapped=True)
    assert data.fingerprint == before
    (note,) = data.notes
    assert note.startswith(f"the file of decoded images {the_file()} ")
    assert note.endswith("; it is made again")
    assert load(f"folder:{photos}?size=8", mapped=True).notes == ()


def test_above_the_budget_pixels_are_mapped(photos, monkeypatch):
    assert not isinstance(load(f"folder:{photos}?size=8").train, MappedSplit)
    monkeypatch.setenv("LATENTBENCH_IMAGE_MEMORY_GB", "0.000001")
    assert isinstance(load(f"folder:{photos}?size=8").train, MappedSplit)
    monkeypatch.setenv("LATENTBENCH_IMAGE_MEMORY_GB", "much")
    with pytest.raises(LatentbenchError, match="LATENTBENCH_IMAGE_MEMORY_GB=much: must be a number"):
        load(f"folder:{photos}?size=8")


def test_a_pickle_holds_no_pixels(photos):
    data = load(f"folder:{photos}?size=512", mapped=True)
    pickled = pickle.dumps(data)
    assert len(pickled) < 5_000
    again = pickle.loads(pickled)
    assert torch.equal(again.train.images, data.train.images)
    assert again.train.labels.tolist() == data.train.labels.tolist()
    the_file().unlink()
    with pytest.raises(DataError, match="decoded images are gone or cut off"):
        pickle.loads(pickled)


def test_grey_images_with_three_channels_stay_in_the_file(photos):
    for index, file in enumerate(sorted(photos.rglob("*.png"))):
        Image.new("RGB", (16, 16), (index, index, index)).save(file)
    data = load(f"folder:{photos}?size=8&channels=3", mapped=True)
    pickled = pickle.dumps(data)
    again = pickle.loads(pickled)
    for each in (data, again):
        assert isinstance(each.test, MappedSplit)
        assert each.image_shape == (3, 8, 8)
        assert torch.equal(each.train.images, load(f"folder:{photos}?size=8&channels=3").train.images)
    assert len(pickled) < len(pickle.dumps(load(f"folder:{photos}?size=8", mapped=True))) + 100
    assert the_file().stat().st_size == 12 * 64


def test_unreadable_images_take_no_room(photos):
    (photos / "train" / "a" / "0.png").write_bytes(b"")
    mapped = load(f"folder:{photos}?size=8", mapped=True)
    assert len(mapped.train) == 7
    assert mapped.fingerprint == load(f"folder:{photos}?size=8").fingerprint
    again = load(f"folder:{photos}?size=8", mapped=True)
    assert again.notes == mapped.notes == ("1 of 12 files cannot be read as images, left out: train/a/0.png",)


def test_a_full_disk_is_one_line_and_leaves_nothing(photos, tmp_path):
    """A limit on the size of files stands for a disk that fills while images are decoded."""
    script = (
        "import resource, sys\n"
        "from latentbench.data import LatentbenchError, load\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try:\n"
        f"    load('folder:{photos}?size=256', mapped=True)\n"
        "except LatentbenchError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "0.00236 GB of decoded images cannot be written: File too large; make room" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert not [file for file in images_folder().iterdir() if file.is_file()]


def test_a_disk_without_room_is_refused_before_decoding(photos, monkeypatch):
    monkeypatch.setattr(assembly, "decode", no_decoding)
    monkeypatch.setattr(pixel_file.os, "statvfs", lambda _: type("Room", (), {"f_bavail": 1, "f_frsize": 1}))
    with pytest.raises(LatentbenchError, match="cannot be written: only 1e-09 GB are free; make room"):
        load(f"folder:{photos}?size=8", mapped=True)
