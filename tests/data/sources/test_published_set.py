"""torchvision's sets are those of CLIP_benchmark: the same images, labels, class names and templates."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from clip_benchmark.datasets import builder
from PIL import Image
from shared.torchvision_layouts import LAYOUTS, eurosat, food101, gtsrb, picture, write

from latentbench.data import DataError, load
from latentbench.data.loading import open_sources
from latentbench.data.request import DataRequest
from latentbench.data.sources.named_sets.published_sets import PUBLISHED, published_prompts
from latentbench.data.sources.named_sets.torchvision_sets import ROOT_VARIABLE

FOLDER = Path(builder.__file__).parent
THEIR_NAMES = json.loads((FOLDER / "en_classnames.json").read_text())
THEIR_TEMPLATES = json.loads((FOLDER / "en_zeroshot_classification_templates.json").read_text())


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


def theirs(name, root):
    """CLIP_benchmark's own data set on the same files."""
    if name == "svhn":
        from torchvision.datasets import SVHN

        found = SVHN(root / "SVHN", split="test")
        found.classes, found.templates = THEIR_NAMES[name], THEIR_TEMPLATES[name]
        return found
    place = root / "fer2013" if name == "fer2013" else root
    return builder.build_dataset(name, root=str(place), download=False)


def test_every_set_is_tried():
    assert set(LAYOUTS) == set(PUBLISHED) == set(published_prompts())


@pytest.mark.filterwarnings("ignore:split argument ignored")
@pytest.mark.parametrize("name", LAYOUTS)
def test_images_and_words_are_those_of_clip_benchmark(name, root, monkeypatch):
    if name == "pcam":
        pytest.importorskip("h5py")
    LAYOUTS[name](root, monkeypatch)
    found, expected = open_sources(DataRequest(torchvision=name)), theirs(name, root)
    assert found.train is None
    assert list(found.test.classes) == list(expected.classes)
    assert list(found.templates) == [template.replace("{c}", "{}") for template in expected.templates]
    rows = [expected[index] for index in range(len(expected))]
    ours = [(found.test.open(index), found.test.labels[index]) for index in range(len(found.test))]
    assert sorted(map(as_key, ours)) == sorted(map(as_key, rows))
    assert len(set(found.test.names)) == len(rows) > 1


def as_key(row):
    image, label = row
    return int(label), image.convert("RGB").tobytes()


def test_a_set_is_zero_shot_data_of_its_test_images(root, monkeypatch):
    eurosat(root, monkeypatch)
    data = load("torchvision:eurosat?size=16")
    assert data.test_only
    assert data.name == "torchvision:eurosat?size=16"
    assert data.classes[0] == "annual crop land"
    assert data.templates[0] == "a centered satellite photo of {}."
    assert data.test.labels.bincount().tolist() == [2, *[1] * 9]
    assert data.image_shape == (3, 16, 16)
    assert load({"torchvision": "eurosat", "size": 16}).fingerprint == data.fingerprint
    assert len(load("torchvision:eurosat?size=16&limit=4").test) == 4


def test_many_images_are_decoded_by_other_processes(root, monkeypatch):
    LAYOUTS["country211"](root, monkeypatch)
    data = load("torchvision:country211?size=8", mapped=True)
    assert len(data.test) == 212
    image = data.originals.open(100).resize((8, 8), Image.Resampling.BOX)
    assert np.abs(np.asarray(image, float).transpose(2, 0, 1) - data.test.images[100].numpy()).mean() < 30


def test_images_are_not_turned_upright(root, monkeypatch):
    food101(root, monkeypatch)
    turned = Image.Exif()
    turned[0x0112] = 6
    file = root / "food-101/images/apple_pie/1.jpg"
    Image.open(file).save(file, exif=turned)
    source = open_sources(DataRequest(torchvision="food101")).test
    assert source.open(source.names.index("images/apple_pie/1.jpg")).size == (40, 30)


def test_an_unreadable_image_is_a_miss_that_is_named(root, monkeypatch):
    food101(root, monkeypatch)
    (root / "food-101/images/apple_pie/2.jpg").write_bytes(b"x")
    data = load("torchvision:food101?size=16")
    assert len(data.test) == 3
    assert data.unreadable == ("images/apple_pie/2.jpg",)
    assert any("1 of 3 files cannot be read" in note for note in data.notes)


def test_a_changed_file_changes_the_fingerprint(root, monkeypatch):
    food101(root, monkeypatch)
    request = DataRequest(torchvision="food101")
    first = open_sources(request).test.fingerprint
    assert open_sources(request).test.fingerprint == first
    write(root / "food-101/images/apple_pie/2.jpg", picture(99))
    assert open_sources(request).test.fingerprint != first


@pytest.mark.parametrize("name", ["food101", "cars", "mnist", "fer2013"])
def test_a_missing_set_names_the_folder(name, root, monkeypatch):
    # Nothing listens on the discard port, so torchvision's own download fails at once.
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://localhost:9/")
    with pytest.raises(DataError) as caught:
        load(f"torchvision:{name}")
    message, folder = str(caught.value), root / PUBLISHED[name].folder
    assert message.startswith(f"torchvision:{name}: could not be read from or downloaded to {folder} (")
    assert f"or set {ROOT_VARIABLE} to a folder that has them" in message
    assert "\n" not in message


def labels_beyond_the_names(root, monkeypatch):
    gtsrb(root, monkeypatch)
    table = root / "gtsrb/GT-final_test.csv"
    table.write_text(table.read_text().replace(";42;42", ";42;43"))


def a_class_folder_less(root, monkeypatch):
    eurosat(root, monkeypatch)
    os.rename(root / "eurosat/2750/River", root / "River")


def no_images(root, monkeypatch):
    write(root / "food-101/meta/test.json", json.dumps({"apple_pie": []}))
    (root / "food-101/images").mkdir()


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (
            "gtsrb",
            labels_beyond_the_names,
            r"in \S+/gtsrb: labels run from 0 to 43, but 43 classes have names",
        ),
        ("eurosat", a_class_folder_less, r"in \S+/eurosat: 9 classes, but 10 names are published"),
        ("food101", no_images, r"in \S+/food-101: no images"),
    ],
)
def test_a_set_that_is_not_whole_is_refused(name, damage, message, root, monkeypatch):
    damage(root, monkeypatch)
    with pytest.raises(DataError, match=rf"torchvision:{name} {message}.*remove the folder"):
        load(f"torchvision:{name}")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("torchvision:food-101", "unknown torchvision data set 'food-101'; did you mean 'food101'"),
        ("torchvision:food101?split=train", "split must be 'test', got 'train'"),
        ("torchvision:", "torchvision is empty"),
    ],
)
def test_a_bad_request_says_what_is_allowed(request_, message, root):
    with pytest.raises(DataError, match=message):
        load(request_)
