"""Folders whose classes are named in a file: which images are read, counted and refused."""

import pytest
import torch
from PIL import Image

from latentbench.data import DataError, load
from latentbench.data.sources.zero_shot_folder import DEFAULT_TEMPLATES, prompts_of


@pytest.fixture
def folder(tmp_path):
    """Two classes of two images, in different shapes, with names and templates."""
    for name, colour in (("n01", "red"), ("n02", "blue")):
        (tmp_path / name).mkdir()
        for index, size in enumerate([(60, 40), (40, 60)]):
            Image.new("RGB", size, colour).save(tmp_path / name / f"{index}.png")
    (tmp_path / "classes.txt").write_text("red thing\nblue thing\n")
    (tmp_path / "templates.txt").write_text("a photo of a {}.\n\nthe {c} here\n")
    return tmp_path


def test_every_image_is_tested_by_name_and_template(folder):
    data = load(f"folder:{folder}?size=32")
    assert data.classes == ("red thing", "blue thing")
    assert data.templates == ("a photo of a {}.", "the {} here")
    assert data.test.images.shape == (4, 3, 32, 32)
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    assert data.train is data.test
    assert data.test.images[0, :, 5, 5].tolist() == [255, 0, 0]
    assert load(f"folder:{folder}").image_shape == (3, 224, 224)


def test_names_may_be_given_by_folder_in_any_order(folder):
    (folder / "classes.txt").write_text("n02: blue thing\nn01: red: really\n")
    assert load(f"folder:{folder}?size=32").classes == ("red: really", "blue thing")


def test_without_templates_there_is_the_usual_one(folder):
    (folder / "templates.txt").unlink()
    assert load(f"folder:{folder}?size=32").templates == DEFAULT_TEMPLATES


def test_pixels_are_those_of_open_clips_preprocessing(folder):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (50, 70, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(folder / "n01" / "0.png")
    transform = image_transform_v2(PreprocessCfg(size=32, mean=(0, 0, 0), std=(1, 1, 1)), is_train=False)
    expected = transform(Image.open(folder / "n01" / "0.png"))
    assert torch.equal(load(f"folder:{folder}?size=32").test.images[0].float() / 255, expected)


def test_an_unreadable_image_is_counted_and_named_and_stays_in_n(folder):
    (folder / "n01" / "torn.png").write_bytes((folder / "n01" / "0.png").read_bytes()[:40])
    data = load(f"folder:{folder}?size=32")
    assert len(data.test) == 5
    assert data.unreadable == ("n01/torn.png",)
    assert data.warnings == ("1 of 5 files cannot be read as images and count as misses: n01/torn.png",)
    assert data.readable.tolist() == [True, True, False, True, True]
    assert not data.test.images[2].any()


def test_the_fingerprint_follows_templates_and_names(folder):
    before = load(f"folder:{folder}?size=32").fingerprint
    assert load(f"folder:{folder}?size=32").fingerprint == before
    (folder / "templates.txt").write_text("a {}\n")
    other = load(f"folder:{folder}?size=32").fingerprint
    (folder / "classes.txt").write_text("a\nb\n")
    assert len({before, other, load(f"folder:{folder}?size=32").fingerprint}) == 3


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classes.txt", "\n \n", "no classes; write a name a line"),
        ("classes.txt", "one\ntwo\nthree\n", r"3 names for 2 class folders \(n01, n02, …\)"),
        ("classes.txt", "thing\nthing\n", "the name 'thing' is there twice"),
        ("classes.txt", "n01: a\nn01: b\n", "the folder 'n01' is there twice"),
        ("classes.txt", "n01: a\n", "no name for the class folder 'n02'"),
        ("templates.txt", "a photo\n", r"line 1: 'a photo' needs exactly one \{\}"),
        ("templates.txt", "a {}\n{} and {}\n", r"line 2: '\{\} and \{\}' needs exactly one"),
        ("templates.txt", "a {name}\n", r"'a \{name\}' needs exactly one"),
        ("templates.txt", "\n", "no templates"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(folder, file, text, message):
    (folder / file).write_text(text)
    with pytest.raises(DataError, match=message):
        load(f"folder:{folder}?size=32")


def test_nothing_to_read_is_refused(folder):
    for file in folder.glob("*/*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"no image in its class folders can be read \(4 files tried\)"):
        load(f"folder:{folder}?size=32")
    for file in (folder / "n02").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="n02: class folder without images"):
        load(f"folder:{folder}?size=32")


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        ((), ("a {}",), "no classes"),
        (("cat", ""), ("a {}",), "a class has no name"),
        (("cat", "cat"), ("a {}",), "the class 'cat' is there twice"),
        (("cat",), (), "no templates"),
        (("cat",), ("a cat",), r"needs exactly one \{\}"),
    ],
)
def test_prompts_need_names_and_places_for_them(names, templates, message):
    with pytest.raises(DataError, match=message):
        prompts_of(names, templates)
