"""Hugging Face data sets as they lie on a disk."""

import pickle
import sys

import numpy as np
import pytest
from PIL import Image as Pillow

from latentbench.data import DataError, ImageData, load
from latentbench.data.loading import open_sources
from latentbench.data.reading.prompted import PromptedImageData
from latentbench.data.request import DataRequest
from latentbench.data.sources.named_sets.published_sets import published_prompts

datasets = pytest.importorskip("datasets")
parquet = pytest.importorskip("pyarrow.parquet")

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


@pytest.fixture
def broken():
    """Ten rows for training and ten for testing, of which two each cannot be read."""

    def part():
        images = [Pillow.fromarray(pixels) for pixels in PIXELS[:10]]
        images[3] = None
        images[5] = {"bytes": b"no image", "path": None}
        return images

    return part


def test_images_that_are_missing_or_broken_are_named(tmp_path, broken):
    splits = {name: rows(images=broken(), label=False) for name in ("train", "test")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    data = load({"hf": str(tmp_path / "saved"), "size": 16})
    assert (len(data.train), len(data.test)) == (8, 8)
    (note,) = data.notes
    assert note.startswith("4 of 20 files cannot be read as images, left out: ")
    assert all(f"{split}/{number}" in note for split in splits for number in (3, 5))


def test_broken_images_are_misses_if_nothing_is_trained(tmp_path, broken):
    rows(images=broken()).save_to_disk(tmp_path / "saved")
    data = load({"hf": str(tmp_path / "saved"), "size": 16, "split": "all"})
    assert (len(data.test), len(data.originals), int(data.readable.sum())) == (10, 10, 8)
    assert sorted(data.unreadable) == ["all/3", "all/5"]
    assert any(note.startswith("2 of 10 files cannot be read as images, counted as") for note in data.notes)


def test_no_black_image_is_among_those_that_are_trained_on(tmp_path, broken):
    """Reconstructions of broken test images would be measured; so they are no misses either."""
    splits = {name: rows(images=broken()) for name in ("train", "test")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    data = load({"hf": str(tmp_path / "saved"), "size": 16})
    assert (len(data.train), len(data.test), len(data.originals)) == (8, 8, 8)
    assert data.test.images.flatten(1).amax(1).all()
    assert (data.unreadable, bool(data.readable.all())) == ((), True)
    assert data.test.labels.tolist() == list(data.originals.labels)
    assert any(note.startswith("4 of 20 files cannot be read as images, left out: ") for note in data.notes)
    again = load({"hf": str(tmp_path / "saved"), "size": 16}, mapped=True)
    assert again.fingerprint == data.fingerprint
    assert pickle.loads(pickle.dumps(again)).fingerprint == data.fingerprint


def test_words_are_those_of_the_label_column(tmp_path):
    rows().save_to_disk(tmp_path / "saved")
    data = load(f"hf:{tmp_path}/saved?split=all")
    assert isinstance(data, PromptedImageData)
    assert (data.classes, data.templates) == (("cat", "dog"), ("a photo of a {}.",))
    assert data.image_shape == (3, 224, 224)
    assert data.notes[0].endswith(
        "column 'label' has the classes cat, dog; the template is “a photo of a {}.”"
    )


def test_text_files_in_the_folder_come_first(tmp_path):
    rows().save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "classes.txt").write_text("dog: hound\ncat: kitten\n")
    (tmp_path / "saved" / "templates.txt").write_text("a {c}\n")
    data = load(f"hf:{tmp_path}/saved?size=16")
    assert (data.classes, data.templates) == (("kitten", "hound"), ("a {}",))
    (tmp_path / "saved" / "classes.txt").write_text("kitten\n")
    with pytest.raises(DataError, match=r"1 names for 2 labels \(cat, dog, …\); give one per label, in the"):
        load(f"hf:{tmp_path}/saved?size=16")


def test_an_image_without_a_label_is_named(tmp_path):
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]))
    columns = {"image": [Pillow.fromarray(pixels) for pixels in PIXELS[:4]], "label": [0, 1, -1, 0]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "saved")
    data = load(f"hf:{tmp_path}/saved?size=16&split=all")
    assert data.test.labels is None
    assert data.notes == ("labels of all are not read, because 1 image has none: all/2",)
    with pytest.raises(DataError, match=r"unknown split 'xyz'; known: all, test$"):
        load(f"hf:{tmp_path}/saved?size=16&split=xyz")


def test_lines_may_begin_with_the_numbers_of_labels(tmp_path):
    """Also where the labels have names, and images of the last class are missing."""
    rows().filter(lambda row: row["label"] == 0).save_to_disk(tmp_path / "named", num_shards=1)
    numbered([0, 1, 0]).save_to_disk(tmp_path / "numbers")
    for place in ("named", "numbers"):
        file = tmp_path / place / "classes.txt"
        file.write_text("1: a hound: any\n0: kitten\n")
        assert load(f"hf:{tmp_path}/{place}?size=16&split=all").classes == ("kitten", "a hound: any")
        file.write_text("0: kitten\n")
        with pytest.raises(DataError, match="no name for the label '1'"):
            load(f"hf:{tmp_path}/{place}?size=16&split=all")


@pytest.mark.parametrize(("folder", "published"), [("cifar10", "cifar10"), ("CIFAR-10", "cifar10")])
def test_known_sets_have_their_published_templates(tmp_path, folder, published):
    names = list("abcdefghij")
    features = datasets.Features(img=datasets.Image(), label=datasets.ClassLabel(names=names))
    columns = {"img": [Pillow.fromarray(PIXELS[0])] * 2, "label": [0, 9]}
    known = datasets.Dataset.from_dict(columns, features=features, split="test")
    known.save_to_disk(tmp_path / folder)
    data = load(f"hf:{tmp_path / folder}?size=16")
    assert data.templates == published_prompts()[published].templates
    assert "templates are those published for cifar10" in data.notes[0]


def test_a_set_of_a_known_name_with_other_classes_is_another(tmp_path):
    rows().save_to_disk(tmp_path / "cifar10")
    assert load(f"hf:{tmp_path}/cifar10?size=16").templates == ("a photo of a {}.",)


def numbered(labels, column="label"):
    images = [Pillow.fromarray(PIXELS[index]) for index in range(len(labels))]
    features = datasets.Features(image=datasets.Image(), **{column: datasets.Value("int64")})
    return datasets.Dataset.from_dict({"image": images, column: labels}, features=features)


def test_numbers_without_names_can_be_named_by_a_file(tmp_path):
    splits = datasets.DatasetDict(train=numbered([0, 1, 2]), test=numbered([1, 0]))
    splits.save_to_disk(tmp_path / "saved")
    data = load(f"hf:{tmp_path}/saved?size=16")
    assert type(data) is ImageData
    assert data.classes == ("0", "1", "2")
    assert data.unnamed == (
        f"hf:{tmp_path}/saved: column 'label' holds whole numbers without names; write classes.txt into "
        f"{tmp_path}/saved, with one name per line for the labels from 0 on, or make the column one of class "
        f"labels"
    )
    (tmp_path / "saved" / "classes.txt").write_text("ant\nbee\ncow\ndog\n")
    assert load(f"hf:{tmp_path}/saved?size=16").classes == ("ant", "bee", "cow", "dog")
    (tmp_path / "saved" / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(DataError, match=r"classes.txt: 2 names for 3 labels \(0, 1, 2, …\)"):
        load(f"hf:{tmp_path}/saved?size=16")


def test_labels_beyond_the_names_are_refused(tmp_path):
    beyond = numbered([0, 1, 7]).data.table
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]))
    table = beyond.replace_schema_metadata(features.arrow_schema.metadata)
    parquet.write_table(table, tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"test/2: label 7, but column 'label' names 2 classes \(0 to 1\)"):
        load(f"hf:{tmp_path}/test.parquet?size=16")


def test_other_columns_that_could_be_meant_are_named(tmp_path):
    names = datasets.ClassLabel(names=["cat", "dog"])
    features = {"mask": datasets.Image(), "image": datasets.Image(), "fine": names, "coarse": names}
    image = Pillow.fromarray(PIXELS[0])
    columns = {"mask": [image], "image": [Pillow.fromarray(PIXELS[1])], "fine": [1], "coarse": [0]}
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features(features), split="test")
    rows.save_to_disk(tmp_path / "saved")
    data = load(f"hf:{tmp_path}/saved?size=16")
    assert shown(data.test) == {PIXELS[1].tobytes()}
    assert data.test.labels.tolist() == [1]
    assert data.notes[:2] == (
        "images are those of column 'image'; other columns of images are not read: mask",
        "labels are those of column 'fine'; other columns of labels are not read: coarse",
    )


def test_a_split_without_labels_is_named(tmp_path):
    hidden = rows(4).map(lambda row: {**row, "label": -1})
    datasets.DatasetDict(train=rows(4), test=hidden).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="the split test lacks labels, and train has them; choose one: split"):
        load(f"hf:{tmp_path}/saved")
    assert load(f"hf:{tmp_path}/saved?split=test&size=16").classes == ()


def test_a_test_split_can_be_made_by_hash(tmp_path):
    rows().save_to_disk(tmp_path / "saved")
    whole = load(f"hf:{tmp_path}/saved?size=16")
    test = load(f"hf:{tmp_path}/saved?size=16&split=test")
    assert test.test_only
    assert test.test.images.tolist() == whole.test.images.tolist()


def test_empty_data_are_refused(tmp_path):
    rows().filter(lambda _: False).save_to_disk(tmp_path / "saved", num_shards=1)
    with pytest.raises(DataError, match="no images; all of its splits are empty"):
        load(f"hf:{tmp_path}/saved")


def test_local_data_need_no_network(tmp_path, monkeypatch):
    rows().save_to_disk(tmp_path / "saved")
    rows().to_parquet(tmp_path / "test.parquet")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("seeks a host"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("opens a connection"))
    for place in ("saved", "test.parquet"):
        assert len(load(f"hf:{tmp_path}/{place}?size=16&limit=5").test) == 5


@pytest.mark.parametrize("mode", [None, "L", "RGB"])
def test_originals_are_opened_as_the_library_decodes_them(tmp_path, mode):
    image = Pillow.fromarray(PIXELS[0][:, :8])
    turned = Pillow.Exif()
    turned[0x0112] = 6
    transparent = image.convert("RGBA")
    transparent.putalpha(90)
    images = {"turned.jpg": image, "transparent.png": transparent, "palette.png": image.quantize(9)}
    images |= {"deep.png": Pillow.fromarray(PIXELS[0, :, :8, 0].astype(np.uint16) * 257)}
    for name, each in images.items():
        each.save(tmp_path / name, **({"exif": turned} if name == "turned.jpg" else {}))
    features = datasets.Features(image=datasets.Image(mode=mode))
    columns = {"image": [str(tmp_path / name) for name in images]}
    stored = datasets.Dataset.from_dict(columns, features=features, split="test")
    stored.save_to_disk(tmp_path / "saved")
    sources = open_sources(DataRequest(hf=str(tmp_path / "saved")))
    for name, encoded in zip(sources.test.names, map(sources.test.stored.__getitem__, range(4)), strict=True):
        ours, theirs = sources.reader(encoded), stored[int(name.partition("/")[2])]["image"]
        assert (ours.mode, ours.size) == (theirs.mode, theirs.size)
        assert ours.tobytes() == theirs.tobytes()


def test_data_without_images_are_refused(tmp_path):
    datasets.Dataset.from_dict({"label": [0, 1]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="no column of images among label"):
        load(f"hf:{tmp_path}/saved")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither a data set written by save_to_disk nor parquet files"):
        load(f"hf:{tmp_path}/empty")


def test_unknown_place_is_an_error_of_one_line(tmp_path):
    with pytest.raises(DataError, match=r"hf:nobody/nothing: .*neither at .* nor "):
        load("hf:nobody/nothing", relative_to=tmp_path)


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"hf:owner/name needs the package datasets: .*\[datasets\]"):
        load("hf:owner/name")
