"""Names of folders, files and splits: found, counted, ordered, or refused in one line."""

import os
from pathlib import Path

import pytest
import torch

from latentbench.data import DataError, ImageData, load


def read_folder(path: Path, *, size: int = 28) -> ImageData:
    return load(f"folder:{path}", size=size)


def shades_of(data: ImageData, part: str) -> list[int]:
    return getattr(data, part).images[:, 0, 0, 0].tolist()


def test_a_missing_folder_and_a_file_in_its_place(write_image, tmp_path):
    with pytest.raises(DataError, match="nowhere: does not exist; give the path of a folder"):
        load(f"folder:{tmp_path}/nowhere")
    with pytest.raises(DataError, match=r"1\.png: is not a folder"):
        load(f"folder:{write_image('1.png')}")


@pytest.mark.parametrize("path", ["~nosuchuser/x", "/" + "a" * 5000, "a\0b"])
def test_impossible_paths_are_errors_of_one_line(path):
    with pytest.raises(DataError) as caught:
        load(f"folder:{path}")
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_a_relative_folder_is_looked_up_from_a_given_one(write_image, tmp_path, monkeypatch):
    write_image("suites/photos/train/1.png")
    write_image("suites/photos/test/1.png")
    monkeypatch.chdir(tmp_path)
    data = load("folder:photos", relative_to=Path("suites"))
    assert data.name == "folder:photos?size=28"
    with pytest.raises(DataError, match=rf"photos: does not exist \(looked for in {tmp_path}\)"):
        load("folder:photos")


@pytest.mark.parametrize(("train", "test"), [("Train", "TEST"), ("training", "val"), ("TRAIN", "Validation")])
def test_splits_are_recognised_in_any_case(write_image, tmp_path, train, test):
    write_image(f"{train}/a/1.png", 10)
    write_image(f"{test}/a/1.png", 20)
    data = read_folder(tmp_path, size=12)
    assert data.classes == ("a",)
    assert (data.train.images == 10).all()
    assert (data.test.images == 20).all()
    assert data.notes == ()


def test_unread_files_are_counted_and_named(write_image, tmp_path):
    for name in (
        "train/a/deep/1.JFIF",
        "train/a/2.png",
        "test/a/1.png",
        "val/a/1.png",
        "extra/1.png",
        "3.png",
    ):
        write_image(name)
    for name in ("README.md", "train/a/x.heic", "train/a/y.HEIC", "test/a/raw"):
        (tmp_path / name).write_text("x")
    data = read_folder(tmp_path, size=12)
    assert (len(data.train), len(data.test)) == (2, 1)
    beside, left_out = data.notes
    assert beside == "folders that are not read next to train/ and test/: extra/, val/"
    assert left_out.startswith("5 entries that are not read: 2 .heic, ")
    assert all(kind in left_out for kind in ("1 .md", "1 .png", "1 without a suffix"))
    assert left_out.endswith(" (3.png, README.md, test/a/raw, train/a/x.heic, train/a/y.HEIC)")


def test_links_and_pipes_do_not_hang_the_reader(write_image, tmp_path):
    for i in range(30):
        write_image(f"a/{i}.png")
    (tmp_path / "a" / "self").symlink_to(tmp_path)
    (tmp_path / "a" / "ring.png").symlink_to("ring.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    data = read_folder(tmp_path, size=12)
    assert len(data.train) + len(data.test) == 30
    assert "3 entries that are not read" in data.notes[0]
    (tmp_path / "b").symlink_to(tmp_path)
    with pytest.raises(DataError, match="b: a link to a folder that holds it; remove it"):
        read_folder(tmp_path)


def test_classes_are_in_natural_order(write_image, tmp_path):
    for number in range(11):
        write_image(f"train/{number}/1.png")
        write_image(f"test/{number}/1.png")
    assert read_folder(tmp_path).classes == tuple(map(str, range(11)))


def test_names_that_are_not_utf8_are_read(write_image, tmp_path):
    for part in ("train", "test"):
        write_image(os.fsdecode(part.encode() + b"/caf\xe9/\xff.png"))
    data = read_folder(tmp_path)
    assert data.classes == ("caf\\xe9",)
    assert len(data.fingerprint) == 64


def test_labels_are_int64(write_image, tmp_path):
    write_image("train/a/1.png")
    write_image("test/a/1.png")
    assert read_folder(tmp_path).train.labels.dtype == torch.int64


def test_a_test_split_alone_is_measured_without_training(write_image, tmp_path):
    for name in ("test/a/1.png", "test/b/1.png"):
        write_image(name)
    data = read_folder(tmp_path, size=12)
    assert data.test_only
    assert data.classes == ("a", "b")
    assert len(data.test) == 2


def test_a_split_can_be_named(write_image, tmp_path):
    for name, shade in (("train/a/1.png", 1), ("test/a/1.png", 2), ("val/a/1.png", 3)):
        write_image(name, shade)
    for split, shade in (("Train", 1), ("test", 2), ("validation", 3)):
        data = load({"folder": str(tmp_path), "size": 12, "split": split})
        assert data.test_only
        assert (data.test.images == shade).all()
    with pytest.raises(DataError, match="unknown split 'tset'; did you mean 'test'"):
        load({"folder": str(tmp_path), "split": "tset"})


def test_a_limit_takes_the_same_images_of_more(write_image, tmp_path):
    for index in range(60):
        write_image(f"{index}.png", index)
    few, more = (load({"folder": str(tmp_path), "size": 12, "limit": limit}) for limit in (3, 5))
    assert (len(few.train), len(few.test)) == (3, 3)
    assert set(shades_of(few, "train")) < set(shades_of(more, "train"))
