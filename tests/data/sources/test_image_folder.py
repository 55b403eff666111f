import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from latentbench.data import DataError, ImageData, load
from latentbench.data.reading.hash_split import hash_of, in_test


def read_folder(path: Path, *, size: int = 28) -> ImageData:
    return load(f"folder:{path}", size=size)


def test_train_and_test_folders_are_read_in_the_order_of_a_hash(write_image, tmp_path):
    for name, shade in [
        ("train/b/1.png", 10),
        ("train/a/2.png", 20),
        ("train/a/1.PNG", 30),
        ("test/b/9.bmp", 40),
    ]:
        write_image(name, shade)
    (tmp_path / "train" / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".cache").mkdir()
    data = read_folder(tmp_path, size=12)
    assert data.classes == ("a", "b")
    files = {"train/b/1.png": (1, 10), "train/a/2.png": (0, 20), "train/a/1.PNG": (0, 30)}
    expected = [files[path] for path in sorted(files, key=hash_of)]
    assert data.train.labels.tolist() == [label for label, _ in expected]
    assert data.train.images[:, 0, 0, 0].tolist() == [shade for _, shade in expected]
    assert data.test.labels.tolist() == [1]
    assert data.image_shape == (1, 12, 12)


def test_train_and_test_folders_without_classes(write_image, tmp_path):
    write_image("train/1.png")
    write_image("test/1.png")
    data = read_folder(tmp_path)
    assert data.classes == ()
    assert data.train.labels is None


def test_class_folders_are_split_by_a_hash_of_each_path(write_image, tmp_path):
    names = [f"{kind}/{i:02}.png" for kind in ("cat", "dog") for i in range(30)]
    for shade, name in enumerate(names):
        write_image(name, shade)
    data = read_folder(tmp_path, size=12)
    expected = [names.index(name) for name in sorted(names, key=hash_of) if in_test(name)]
    assert data.test.images[:, 0, 5, 5].tolist() == expected
    assert data.test.labels.tolist() == [int(shade >= 30) for shade in expected]
    assert len(data.train) + len(data.test) == 60


def test_items_of_a_flat_folder_keep_their_split(write_image, tmp_path):
    for i in range(40):
        write_image(f"{i}.png", i)
    before = read_folder(tmp_path, size=12)
    assert before.classes == ()
    assert before.test.labels is None
    for i in range(100, 140):
        write_image(f"{i}.png", i)
    after = read_folder(tmp_path, size=12)
    assert set(before.test.images[:, 0, 0, 0].tolist()) < set(after.test.images[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("folder", ["", "a/"])
def test_all_images_of_a_folder_without_splits_can_be_measured(write_image, tmp_path, folder):
    for i in range(3):
        write_image(f"{folder}{i}.png", i)
    data = load(f"folder:{tmp_path}?size=12&split=all")
    assert data.test_only
    assert sorted(data.test.images[:, 0, 0, 0].tolist()) == [0, 1, 2]


def test_an_unknown_split_of_a_flat_folder_names_the_folder(write_image, tmp_path):
    write_image("1.png")
    with pytest.raises(DataError, match=f"{tmp_path}: unknown split 'val'.* Known: train, test, all"):
        load(f"folder:{tmp_path}?split=val")


NAMES = st.lists(st.text("abcdefgh0123", min_size=1, max_size=6), min_size=25, max_size=35, unique=True)


@settings(max_examples=15, deadline=None)
@given(names=NAMES, extra=NAMES, shuffle=st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_order_or_on_other_files(names, extra, shuffle, tmp_path_factory):
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    # Shades tell the images apart; 0 to 34 for the names, the rest for the extra ones.
    shades = {name: shade for shade, name in enumerate(names)}
    assume(any(in_test(f"{name}.png") for name in names))
    save_shades(first, shades)
    save_shades(second, dict(shuffle.sample(list(shades.items()), len(shades))))
    before = read_folder(first, size=8)
    assert read_folder(second, size=8).fingerprint == before.fingerprint
    save_shades(first, {name: 100 + shade for shade, name in enumerate(extra) if name not in shades})
    after = read_folder(first, size=8)
    for part in ("train", "test"):
        kept = shades_of(after, part)
        assert [shade for shade in kept if shade < 100] == shades_of(before, part)


def save_shades(folder: Path, shades: dict[str, int]) -> None:
    for name, shade in shades.items():
        Image.new("L", (8, 8), shade).save(folder / f"{name}.png")


def shades_of(data: ImageData, part: str) -> list[int]:
    return getattr(data, part).images[:, 0, 0, 0].tolist()


def test_the_hash_split_is_fixed_and_about_one_in_six():
    assert [i for i in range(20) if in_test(f"image-{i}.png")] == [0, 3]
    assert sum(in_test(f"{i}.jpg") for i in range(6000)) == pytest.approx(1000, abs=90)  # 3 sigma
    assert in_test(os.fsdecode(b"not-\xff-utf8.png")) in (True, False)


def test_shorter_side_is_scaled_and_the_centre_kept(tmp_path):
    # Left and right quarters black, the centre white: only the centre may remain, with its very edge
    # a little darker, as smooth scaling makes it.
    pixels = np.zeros((40, 80), np.uint8)
    pixels[:, 20:60] = 255
    for role in ("train", "test"):
        (tmp_path / role / "a").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / role / "a" / "1.png")
    data = load(f"folder:{tmp_path}", size=10)
    assert data.image_shape == (1, 10, 10)
    assert (data.train.images[..., 1:-1] == 255).all()
    assert data.train.images.min() > 200
    assert data.name == f"folder:{tmp_path}?size=10"
    assert load(f"folder:{tmp_path}?size=10").fingerprint == data.fingerprint
    assert load(f"folder:{tmp_path}").image_shape == (1, 28, 28)


def test_an_image_of_the_right_size_is_kept_to_the_bit(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    for role, image in zip(("train", "test"), pixels, strict=True):
        (tmp_path / role).mkdir()
        Image.fromarray(image).save(tmp_path / role / "1.png")
    data = read_folder(tmp_path, size=16)
    assert (data.train.images[0].permute(1, 2, 0).numpy() == pixels[0]).all()
    assert (data.test.images[0].permute(1, 2, 0).numpy() == pixels[1]).all()


def test_one_coloured_image_makes_all_of_them_rgb(write_image, tmp_path):
    write_image("train/a/1.png", (50, 50, 50))
    write_image("test/a/1.png", 50)
    assert read_folder(tmp_path).image_shape == (1, 28, 28)  # RGB files that are grey throughout
    write_image("test/a/2.png", (50, 51, 50))
    data = read_folder(tmp_path)
    assert data.image_shape == (3, 28, 28)
    assert data.test.images[1, :, 0, 0].tolist() == [50, 51, 50]


def test_transparency_16_bits_and_exif_orientation(write_image, tmp_path):
    write_image("train/a/1.png", (255, 0, 0, 0))
    write_image("train/a/2.png", (255, 0, 0, 128))
    write_image("test/a/1.png", 0)
    Image.fromarray(np.full((12, 12), 257 * 100, np.uint16)).save(tmp_path / "train" / "a" / "3.png")
    turned = Image.fromarray(np.repeat([[255] * 12, [0] * 12], 6, axis=0).astype(np.uint8))  # white on top
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    turned.save(tmp_path / "train" / "a" / "4.png", exif=exif)
    mixed = read_folder(tmp_path, size=12).train.images
    names = [f"train/a/{number}.png" for number in (1, 2, 3, 4)]
    images = mixed[[sorted(names, key=hash_of).index(name) for name in names]]
    assert images[0, :, 5, 5].tolist() == [255, 255, 255]
    assert images[1, :, 5, 5].tolist() == pytest.approx([255, 127, 127], abs=1)
    assert images[2, :, 5, 5].tolist() == [100, 100, 100]
    assert (images[3, :, :6] == 0).all()
    assert (images[3, :, 6:] == 255).all()


def damage_truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_text(file: Path) -> None:
    file.write_text("<html>not found</html>")


def damage_empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_truncated, damage_text, damage_empty])
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif", "webp", "bmp", "ppm"])
def test_damaged_images_are_left_out_and_named(write_image, tmp_path, damage, suffix):
    write_image("train/a/1.png")
    write_image("test/a/1.png")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = tmp_path / "train" / "a" / f"broken.{suffix}"
    Image.fromarray(pixels).save(file)
    damage(file)
    data = read_folder(tmp_path, size=12)
    assert data.train.labels.tolist() == [0]
    assert (data.train.images == 90).all()
    name = f"train/a/broken.{suffix}"
    assert data.notes == (f"1 of 3 files cannot be read as images, left out: {name}",)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ([], r"no images; put train/ and test/, class folders, or images there"),
        (["train/a/1.png"], "has train/ but no test/"),
        (["train/a/1.png", "test/a/"], r"test/a: class folder without images"),
        (["train/", "test/a/1.png"], r"train: no images"),
        (["train/a/1.png", "test/a/1.png", "test/b/7.png"], r"test/b/7\.png: class 'b' is in the test split"),
        (["train/a/1.png", "test/1.png"], r"test/1\.png: class 'images without a class'"),
        (["train/a/1.png", "train/2.png", "test/a/1.png"], r"train: holds images \(2\.png\) next to folders"),
        (
            ["train/a/1.png", "Train/a/1.png", "test/a/1.png"],
            "rain: contains the train split, and so does .rain/",
        ),
        (["Training/a/1.png"], "has Training/ but no test/"),
        (["train/a/1.png", "test/a/x.txt"], "test/a: class folder without images"),
        (["a/2.png", "a/3.png"], "only 2 images, too few to split by hash"),
        (["1.png"], "only 1 images, too few"),
    ],
)
def test_layouts_that_are_refused(write_image, tmp_path, layout, message):
    for name in layout:
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        elif name.endswith(".txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("x")
        else:
            write_image(name)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)


def test_a_class_without_train_images_by_hash_is_refused(write_image, tmp_path):
    for i in range(30):
        write_image(f"many/{i}.png")
    lonely = next(f"rare/{i}.png" for i in range(100) if in_test(f"rare/{i}.png"))
    write_image(lonely)
    with pytest.raises(DataError, match=rf"{lonely}: class 'rare' is in the test split but not in the train"):
        read_folder(tmp_path)
