from dataclasses import replace

import pytest
import torch

from latentbench.data import DataError, ImageData, Split
from latentbench.data.resizing import resized


def small(n: int = 6, side: int = 8, channels: int = 1, classes: int = 2) -> ImageData:
    generator = torch.Generator().manual_seed(3)

    def split() -> Split:
        pixels = torch.randint(256, (n, channels, side, side), generator=generator, dtype=torch.uint8)
        return Split(pixels, torch.arange(n) % classes)

    return ImageData("small", split(), split(), tuple("abcdefgh"[:classes]))


def test_fingerprint_ignores_name_and_memory_layout():
    data = small()
    strided = data.train.images.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)
    assert not strided.is_contiguous()
    twin = replace(data, name="other", train=Split(strided, data.train.labels.clone()))
    assert twin.fingerprint == data.fingerprint == small().fingerprint


def test_any_change_of_content_changes_the_fingerprint():
    data = small()
    pixel, label = data.train.images.clone(), data.test.labels.clone()
    pixel[5, 0, 7, 7] ^= 1
    label[0] = 1 - label[0]
    swapped = torch.tensor([1, 0, 2, 3, 4, 5])
    variants = [
        replace(data, train=Split(pixel, data.train.labels)),
        replace(data, test=Split(data.test.images, label)),
        replace(data, train=data.test, test=data.train),
        replace(data, train=Split(data.train.images[swapped], data.train.labels[swapped])),
        replace(data, classes=("a", "c")),
        replace(data, train=Split(data.train.images, None), test=Split(data.test.images, None), classes=()),
    ]
    assert len({data.fingerprint, *(variant.fingerprint for variant in variants)}) == len(variants) + 1


def test_images_without_labels_and_classes_are_accepted():
    data = small()
    bare = ImageData("bare", Split(data.train.images, None), Split(data.test.images, None), ())
    assert bare.classes == ()
    assert len(bare.fingerprint) == 64


IMAGES, LABELS = small().train.images, small().train.labels


@pytest.mark.parametrize(
    ("train", "classes", "message"),
    [
        (Split(IMAGES.float(), LABELS), "ab", r"bad \(train\): images must be uint8"),
        (Split(IMAGES[0], LABELS), "ab", r"uint8 \[N, C, H, W\], got torch.uint8 \[1, 8, 8\]"),
        (Split(IMAGES[:0], LABELS[:0]), "ab", "no images"),
        (Split(IMAGES.expand(-1, 2, -1, -1), LABELS), "ab", "1 or 3 channels, got 2"),
        (Split(IMAGES[..., :7], LABELS), "ab", "square, 8 to 1024 px, got 8x7"),
        (Split(IMAGES[..., :7, :7], LABELS), "ab", "square, 8 to 1024 px, got 7x7"),
        (Split(IMAGES, LABELS[:5]), "ab", "6 images but 5 labels"),
        (Split(IMAGES, LABELS.int()), "ab", "labels must be int64, got torch.int32"),
        (Split(IMAGES, LABELS + 1), "ab", r"labels run from 1 to 2, but there are 2 classes"),
        (Split(IMAGES, LABELS - 1), "ab", r"labels run from -1 to 0"),
        (Split(IMAGES, None), "ab", "2 classes but no labels"),
        (Split(IMAGES, LABELS), "", "there are 0 classes"),
        (Split(IMAGES, LABELS), "aa", "class name is used twice"),
        (Split(IMAGES.expand(-1, 3, -1, -1), LABELS), "ab", r"train images are \[3, 8, 8\], test images"),
    ],
)
def test_unsound_data_is_refused_where_it_is_made(train, classes, message):
    with pytest.raises(DataError, match=message):
        ImageData("bad", train, Split(IMAGES, LABELS), tuple(classes))


def test_one_split_with_labels_and_one_without_is_refused():
    with pytest.raises(DataError):
        ImageData("bad", Split(IMAGES, None), Split(IMAGES, LABELS), ())


def test_resizing_keeps_a_constant_and_the_mean():
    data = small(side=16, channels=3)
    flat = replace(data, train=Split(torch.full_like(data.train.images, 77), data.train.labels))
    assert (resized(flat, 28).train.images == 77).all()
    half = resized(data, 8)
    assert half.image_shape == (3, 8, 8)
    assert half.name == "small?size=8"
    assert half.test.images.float().mean().item() == pytest.approx(
        data.test.images.float().mean().item(), abs=2
    )
    assert resized(data, 16) is data


def test_grey_is_repeated_and_colour_is_kept():
    grey = small()
    colour = grey.with_channels(3)
    assert colour.image_shape == (3, 8, 8)
    assert all(torch.equal(colour.test.images[:, channel], grey.test.images[:, 0]) for channel in range(3))
    assert colour.with_channels(1).fingerprint == grey.fingerprint
    assert colour.with_channels(3) is colour
    with pytest.raises(DataError, match=r"small \(test\): 1 channel requested, but .* coloured"):
        small(channels=3).with_channels(1)
    with pytest.raises(DataError, match="got 2"):
        grey.with_channels(2)
