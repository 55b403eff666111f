"""Folders whose classes are named in a file: which images are read, counted and refused."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from latentbench.data import DataError, load
from latentbench.data.reading.prompted import DEFAULT_TEMPLATES


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


def test_an_unreadable_image_is_named_and_stays_in_n(folder):
    (folder / "n01" / "torn.png").write_bytes((folder / "n01" / "0.png").read_bytes()[:40])
    data = load(f"folder:{folder}?size=32")
    assert len(data.test) == 5
    assert data.unreadable == ("n01/torn.png",)
    assert data.notes[1:] == ("1 of 5 files cannot be read as images, counted as misses: n01/torn.png",)
    assert data.readable.tolist() == [True, True, False, True, True]
    assert not data.test.images[2].any()


def test_the_fingerprint_follows_templates_and_names(folder):
    before = load(f"folder:{folder}?size=32").fingerprint
    assert load(f"folder:{folder}?size=32").fingerprint == before
    (folder / "templates.txt").write_text("a {}\n")
    other = load(f"folder:{folder}?size=32").fingerprint
    (folder / "classes.txt").write_text("a\nb\n")
    assert len({before, other, load(f"folder:{folder}?size=32").fingerprint}) == 3


def test_the_fingerprint_follows_the_original_files(folder):
    """Upright pixels may be equal where those that a pretrained model gets are not: one file is turned."""
    pixels = Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48))
    turned = Image.Exif()
    turned[0x0112] = 6
    found = []
    for image, exif in ((pixels, Image.Exif()), (pixels.rotate(90), turned)):
        image.save(folder / "n01" / "0.png", exif=exif)
        data = load(f"folder:{folder}?size=32")
        found.append((data.test.images, data.fingerprint))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] != found[1][1]


def test_nothing_to_read_is_refused(folder):
    for file in folder.glob("*/*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"no image can be read \(4 files tried, such as n01/0.png"):
        load(f"folder:{folder}?size=32")
    for file in (folder / "n02").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="n02: class folder without images"):
        load(f"folder:{folder}?size=32")


def test_every_source_reads_the_same_image(folder):
    """A plain folder and a zero-shot folder give equal pixels for files of every kind."""
    levels = np.array([[40 * 257, 200 * 257]], np.uint16).repeat(32, 0).repeat(16, 1)
    Image.fromarray(levels).save(folder / "n01" / "0.png")
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    clear.save(folder / "n01" / "1.png")
    turned = Image.fromarray(np.arange(32, dtype=np.uint8).repeat(32).reshape(32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "n02" / "0.png", exif=exif)
    named = load(f"folder:{folder}?size=32").test.images
    assert named[0].unique().tolist() == [40, 200]
    assert (named[1] == 255).all()
    assert torch.equal(named[2, 0], torch.from_numpy(np.array(turned)).rot90(-1))
    for extra in ("classes.txt", "templates.txt"):
        (folder / extra).unlink()
    for number in range(30):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / "n01" / f"more{number}.png")
    plain = load(f"folder:{folder}?size=32")
    everything = torch.cat([plain.train.images, plain.test.images])
    for image in named:
        assert (everything == image).flatten(1).all(1).any()


def test_numbered_folders_are_in_natural_order(tmp_path):
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    for number in range(11):
        (tmp_path / str(number)).mkdir()
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / str(number) / "a.png")
    (tmp_path / "classes.txt").write_text("\n".join(names))
    data = load(f"folder:{tmp_path}?size=8")
    assert [data.classes[label] for label in data.test.labels] == names
    assert data.test.images[:, 0, 0, 0].tolist() == list(range(11))
    assert data.notes == (
        "classes.txt names the class folders in natural order (2 before 10): 0 = zero, 1 = one, 2 = two, "
        "3 = three, 4 = four, 5 = five, 6 = six, 7 = seven, 8 = eight, 9 = nine, 10 = ten",
    )


def test_the_test_split_of_a_folder_is_read(folder):
    for split in ("Train", "val"):
        (folder / split).mkdir()
    for name in ("n01", "n02"):
        (folder / "Train" / name).mkdir()
        (folder / name).rename(folder / "val" / name)
    data = load(f"folder:{folder}?size=32")
    assert data.classes == ("red thing", "blue thing")
    assert len(data.test) == 4
    assert "the images of val/ are read, not those of Train/" in data.notes


def test_files_left_out_are_counted_by_kind(folder):
    Image.new("RGB", (8, 8), "red").save(folder / "stray.png")
    (folder / "n01" / "deep").mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "n01" / "deep" / "2.JPG")
    for name in ("notes.TXT", "photo.heic", "LICENSE"):
        (folder / "n01" / name).write_text("x")
    (folder / "n01" / "loop").symlink_to(folder)
    os.mkfifo(folder / "n02" / "pipe.png")
    (folder / "n02" / "gone.png").symlink_to("nowhere")
    data = load(f"folder:{folder}?size=32")
    assert len(data.test) == 5
    (note,) = [note for note in data.notes if "not read" in note]
    assert note.startswith("7 entries that are not read: ")
    for kind in (".png", ".txt", ".heic", "without a suffix", "links to folders", "special", "dangling"):
        assert f"1 {kind}" in note


def test_animated_files_are_named(folder):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("lime", "blue")]
    frames[0].save(folder / "n01" / "0.gif", save_all=True, append_images=frames[1:])
    data = load(f"folder:{folder}?size=32")
    assert data.test.images[0, :, 9, 9].tolist() == [0, 255, 0]
    assert "1 file has several frames, of which the first is read: n01/0.gif" in data.notes


def test_classes_may_have_one_name(folder):
    (folder / "classes.txt").write_text("crane\ncrane\n")
    data = load(f"folder:{folder}?size=32")
    assert data.classes == ("crane", "crane")
    assert any(note.startswith("1 name is shared by several classes (crane)") for note in data.notes)


def test_names_that_are_not_utf8_are_printable(folder):
    (folder / os.fsdecode(b"n\xff")).mkdir()
    (folder / os.fsdecode(b"n\xff/caf\xe9.png")).write_bytes(b"torn")
    (folder / "classes.txt").write_text("a\nb\nc\n")
    data = load(f"folder:{folder}?size=32")
    "\n".join(data.notes).encode()
    assert data.unreadable == ("n\\xff/caf\\xe9.png",)
    assert len(data.fingerprint) == 64
