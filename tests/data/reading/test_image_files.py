"""One reader: what every kind of image file means."""

import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentbench.data import DataError
from latentbench.data.reading.image_files import (
    FORMATS,
    OpenedByLibrary,
    is_image_file,
    read_as_clip_benchmark,
    read_image,
    read_unconverted,
)

LEVELS = np.array([[40, 200], [0, 255]], np.uint8).repeat(6, 0).repeat(6, 1)


def pixels(file: Path | bytes) -> np.ndarray:
    image = read_image(file)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_are_scaled_to_8(tmp_path, suffix):
    file = tmp_path / f"x.{suffix}"
    Image.fromarray(LEVELS.astype(np.uint16) * 257).save(file)
    assert (pixels(file) == LEVELS[..., None]).all()


def test_16_bit_grey_and_colour_files_agree(tmp_path):
    """A hand-written 16-bit RGB TIFF: Pillow writes none."""
    levels = LEVELS.astype(np.uint16) * 257 + 100
    grey = tmp_path / "grey.png"
    Image.fromarray(levels).save(grey)
    height, width = levels.shape
    body = levels.astype("<u2").repeat(3).tobytes()
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, 8 + len(body)),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, len(body)),
    ]
    bits = struct.pack("<3H", 16, 16, 16)
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(body) + len(bits))
    colour = tmp_path / "colour.tif"
    colour.write_bytes(head + body + bits + directory + bytes(4))
    assert (pixels(colour) == pixels(grey)).all()


def test_a_transparent_16_bit_level_is_white(tmp_path):
    Image.fromarray(LEVELS.astype(np.uint16) * 257).save(tmp_path / "x.png", transparency=40 * 257)
    assert set(np.unique(pixels(tmp_path / "x.png"))) == {0, 200, 255}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_every_orientation_equals_the_upright_image(tmp_path, orientation, suffix):
    upright = np.random.default_rng(0).integers(0, 256, (10, 16, 3), dtype=np.uint8)
    # The upright image as a camera stores it under each orientation.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright[:, ::-1], -1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"x.{suffix}", exif=exif)
    assert (pixels(tmp_path / f"x.{suffix}") == upright).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparent_pixels_are_white(tmp_path, mode):
    file, options = tmp_path / "x.png", {}
    if mode == "RGB":
        image, options = Image.new("RGB", (8, 8), (255, 0, 0)), {"transparency": (255, 0, 0)}
    elif mode == "P":
        image, options = Image.new("P", (8, 8), 0), {"transparency": 0}
        image.putpalette([255, 0, 0])
    else:
        image = Image.new(mode, (8, 8), (255, 0, 0, 0) if mode == "RGBA" else (30, 0))
    image.save(file, **options)
    assert (pixels(file) == 255).all()


def test_half_transparent_red_is_pink(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 128)).save(tmp_path / "x.webp", lossless=True)
    assert pixels(tmp_path / "x.webp")[4, 4].tolist() == pytest.approx([255, 127, 127], abs=1)


def test_palette_one_bit_and_cmyk_files_are_rgb(tmp_path):
    colour = Image.new("RGB", (16, 16), (10, 200, 30))
    colour.quantize(2).save(tmp_path / "palette.gif")
    Image.new("1", (16, 16), 1).save(tmp_path / "bit.png")
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "ink.jpg", quality=100)
    assert pixels(tmp_path / "palette.gif")[0, 0].tolist() == [10, 200, 30]
    assert (pixels(tmp_path / "bit.png") == 255).all()
    assert pixels(tmp_path / "ink.jpg")[0, 0].tolist() == pytest.approx([255, 0, 0], abs=3)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif", "avif"])
def test_the_first_frame_is_read_and_the_rest_noted(tmp_path, suffix):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    first.save(tmp_path / f"x.{suffix}", save_all=True, append_images=[second])
    image = read_image(tmp_path / f"x.{suffix}")
    assert image.getpixel((8, 8)) == pytest.approx((255, 0, 0), abs=6)
    assert image.info["frames_dropped"]
    first.save(tmp_path / f"y.{suffix}")
    assert not read_image(tmp_path / f"y.{suffix}").info["frames_dropped"]


def test_jpeg_with_two_views_is_one_image(tmp_path):
    views = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    views[0].save(tmp_path / "x.mpo", save_all=True, append_images=views[1:])
    (tmp_path / "x.mpo").rename(tmp_path / "x.jpg")
    assert not read_image(tmp_path / "x.jpg").info["frames_dropped"]


def test_the_content_decides_the_format(tmp_path):
    Image.new("RGB", (16, 16), "red").save(tmp_path / "x.jpg")
    shutil.copy(tmp_path / "x.jpg", tmp_path / "x.png")
    assert (pixels(tmp_path / "x.png") == pixels(tmp_path / "x.jpg")).all()
    assert (pixels((tmp_path / "x.jpg").read_bytes()) == pixels(tmp_path / "x.jpg")).all()


def test_formats_that_are_not_listed_are_refused(tmp_path):
    """Pillow would start Ghostscript for PostScript, and it has decoders that few people test."""
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    with pytest.raises(DataError, match=r"x\.png: cannot be read as an image \(cannot identify"):
        read_image(tmp_path / "x.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "x.tga")
    (tmp_path / "x.tga").rename(tmp_path / "y.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path / "y.png")


@pytest.mark.parametrize("suffix", [*FORMATS, ".PNG", ".Jfif", ".AVIF"])
def test_every_suffix_is_read_in_any_case(tmp_path, suffix):
    file = tmp_path / f"x{suffix}"
    assert is_image_file(file)
    Image.new("L" if suffix == ".pgm" else "RGB", (16, 16), "white").save(file, FORMATS[suffix.lower()])
    assert (pixels(file) >= 253).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_without_a_fixed_range_are_refused(tmp_path, mode):
    Image.new(mode, (8, 8), 3).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=f"pixel mode {mode} has no fixed range; save it with 8 or 16"):
        read_image(tmp_path / "x.tif")


def test_a_decompression_bomb_is_refused(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png: cannot be read as an image .*bomb"):
        read_image(tmp_path / "x.png")


def test_a_broken_file_is_named_in_one_printable_line(tmp_path):
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    file.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        read_image(file)
    assert "caf\\xe9.png: cannot be read as an image" in str(caught.value)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_clip_benchmarks_reader_only_converts_to_rgb(tmp_path):
    """An image that a library has opened keeps its mode: a transform converts it after it is scaled."""
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGBA", (6, 4), (10, 20, 30, 0)).save(tmp_path / "clear.png", exif=turned)
    image = read_as_clip_benchmark(tmp_path / "clear.png")
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (6, 4), (10, 20, 30))
    four_inks = OpenedByLibrary(lambda: Image.new("CMYK", (2, 2)), lambda: b"")
    assert read_unconverted(tmp_path / "clear.png").mode == "RGBA"
    assert (read_as_clip_benchmark(four_inks).mode, read_image(four_inks).mode) == ("CMYK", "RGB")
    (tmp_path / "torn.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"torn\.png: cannot be read as an image"):
        read_as_clip_benchmark(tmp_path / "torn.png")
