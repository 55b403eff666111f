"""Hugging Face data sets as they lie on a disk."""

import sys

import numpy as np
import pytest
from PIL import Image as Pillow

from latentbench.data import DataError, load
from latentbench.data.loading import open_sources
from latentbench.data.request import DataRequest

datasets = pytest.importorskip("datasets")

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    """No hub, and the library's own cache in the test's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


def rows(count=40, *, label=True, images=None):
    columns = {"image": images or [Pillow.fromarray(pixels) for pixels in PIXELS[:count]]}
    features = {"image": datasets.Image()}
    if label:
        columns["label"] = [index % 2 for index in range(len(columns["image"]))]
        features["label"] = datasets.ClassLabel(names=["cat", "dog"])
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def shown(split):
    return {image.numpy().tobytes() for image in split.images.permute(0, 2, 3, 1).contiguous()}


@pytest.mark.parametrize("form", ["save_to_disk", "parquet"])
def test_splits_and_labels_are_read(tmp_path, form):
    folder = tmp_path / "saved"
    splits = datasets.DatasetDict(train=rows(30), test=rows(40).select(range(30, 40)))
    if form == "save_to_disk":
        splits.save_to_disk(folder)
    else:
        (folder / "data").mkdir(parents=True)
        for name, part in splits.items():
            part.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    data = load("hf:saved?size=16", relative_to=tmp_path)
    assert data.classes == ("cat", "dog")
    assert shown(data.train) == {pixels.tobytes() for pixels in PIXELS[:30]}
    assert shown(data.test) == {pixels.tobytes() for pixels in PIXELS[30:]}
    first = PIXELS[:30].tolist().index(data.train.images[0].permute(1, 2, 0).tolist())
    assert data.train.labels[0] == first % 2
    assert load("hf:saved?size=16&split=test", relative_to=tmp_path).test_only
    with pytest.raises(DataError, match="unknown split 'tset'; did you mean 'test'"):
        load("hf:saved?split=tset", relative_to=tmp_path)


def test_hub_that_cannot_be_reached_is_said_at_once(monkeypatch):
    def refused(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", refused)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits for a network"))
    with pytest.raises(DataError, match="hf:owner/set: neither at owner/set nor in the library's cache, and"):
        load("hf:owner/set")
    assert datasets.config.HF_HUB_OFFLINE is False


def test_all_images_of_one_split_can_be_measured(tmp_path):
    datasets.DatasetDict(train=rows(40)).save_to_disk(tmp_path / "saved")
    assert len(load("hf:saved?size=16&split=all", relative_to=tmp_path).test) == 40


def test_one_split_is_split_by_hash(tmp_path):
    rows().save_to_disk(tmp_path / "saved")
    data = load({"hf": str(tmp_path / "saved"), "size": 16})
    assert len(data.train) + len(data.test) == 40
    assert load({"hf": str(tmp_path / "saved"), "size": 16}, mapped=True).fingerprint == data.fingerprint


def test_images_are_opened_at_their_original_size(tmp_path):
    turned = Pillow.fromarray(PIXELS[0][:, :8])
    exif = Pillow.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    rows(images=[str(tmp_path / "turned.png")]).save_to_disk(tmp_path / "saved")
    request = DataRequest(hf=str(tmp_path / "saved"), split="all")
    image = open_sources(request).test.open(0)
    assert image.size == (16, 8)
    assert (np.asarray(image) == np.rot90(PIXELS[0][:, :8], -1)).all()


def test_images_that_are_missing_or_broken_are_named(tmp_path):
    images = [Pillow.fromarray(pixels) for pixels in PIXELS]
    images[3] = None
    images[5] = {"bytes": b"no image", "path": None}
    rows(images=images).save_to_disk(tmp_path / "saved")
    data = load({"hf": str(tmp_path / "saved"), "size": 16})
    assert len(data.train) + len(data.test) == 38
    (note,) = data.notes
    assert note.startswith("2 of 40 files cannot be read as images, left out: ")
    assert "/3" in note
    assert "/5" in note


def test_data_without_images_are_refused(tmp_path):
    datasets.Dataset.from_dict({"label": [0, 1]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="no column of images among label"):
        load(f"hf:{tmp_path}/saved")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither a data set written by save_to_disk nor parquet files"):
        load(f"hf:{tmp_path}/empty")


def test_what_is_nowhere_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"hf:nobody/nothing: .*neither at .* nor "):
        load("hf:nobody/nothing", relative_to=tmp_path)


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"hf:owner/name needs the package datasets: .*\[datasets\]"):
        load("hf:owner/name")
