from dataclasses import replace

import pytest
import torch

from latentbench.data import CaptionedData, DataError, ImageData, Split, load, with_captions
from latentbench.data.captioned.draw import BRIGHTNESSES, EXTENTS, CaptionedImages, as_image_data, draw
from latentbench.data.captioned.redraw_digits import measure_slant
from latentbench.data.captioned.schemes import CLOTHES_CAPTIONS, DIGIT_CAPTIONS, committed_split

PARTS = ("train", "test_seen", "test_unseen")


@pytest.fixture(scope="module")
def captioned(mnist) -> CaptionedData:
    return draw(mnist)


@pytest.fixture(scope="module")
def few(mnist) -> ImageData:
    """The first images of MNIST, where the whole would only take longer."""
    train, test = (Split(part.images[:400], part.labels[:400]) for part in (mnist.train, mnist.test))
    return ImageData("few", train, test, mnist.classes)


def test_sizes(captioned):
    assert (len(captioned.train), len(captioned.test_seen), len(captioned.test_unseen)) == (
        30_000,
        5_000,
        5_000,
    )
    for part in PARTS:
        images = getattr(captioned, part)
        assert images.images.shape == (len(images), 1, 28, 28)
        assert images.images.dtype == torch.uint8
        assert images.captions.dtype == torch.int64


def test_each_part_holds_its_own_captions_and_all_of_them(captioned):
    expected = {
        "train": captioned.seen,
        "test_seen": captioned.seen,
        "test_unseen": captioned.unseen,
    }
    for part, captions in expected.items():
        assert set(getattr(captioned, part).captions.tolist()) == set(captions)
    assert captioned.split_hash == committed_split(DIGIT_CAPTIONS).hash


def test_captions_of_a_digit_are_drawn_evenly(captioned):
    counts = torch.bincount(captioned.train.captions, minlength=90)[list(captioned.seen)]
    assert counts.min().item() > 300
    assert counts.max().item() < 650


def test_captions_tell_the_truth_about_the_digit(captioned, mnist):
    """The digit of each caption occurs as often as MNIST's labels say."""
    digits = captioned.factors[captioned.test_unseen.captions][:, 0]
    seen = captioned.factors[captioned.test_seen.captions][:, 0]
    together = torch.bincount(digits, minlength=10) + torch.bincount(seen, minlength=10)
    assert together.tolist() == torch.bincount(mnist.test.labels).tolist()
    words = [captioned.captions[i].split()[2] for i in (0, 89)]
    assert words == ["zero", "nine"]
    assert captioned.factors.shape == (90, 3)
    assert captioned.factors[89].tolist() == [9, 2, 2]


def test_captions_tell_the_truth_about_stroke_and_slant(captioned):
    test = captioned.test_seen
    digit, stroke, slant = captioned.factors[test.captions].unbind(1)
    leaning = 1 - torch.round(measure_slant(test.images) / 0.4).long()  # 0 left, 1 upright, 2 right
    assert (leaning == slant).double().mean().item() > 0.999
    ink = test.images.double().sum((1, 2, 3))
    for each in range(10):
        thin, normal, bold = (ink[(digit == each) & (stroke == i)].mean().item() for i in range(3))
        assert 1.7 * thin < normal
        assert 1.3 * normal < bold


def test_captions_tell_the_truth_about_the_digit_in_the_image(captioned):
    """Ridge regression on the training pixels reads the digit of test images."""
    train, test = captioned.train, captioned.test_unseen
    x, y = (part.images.flatten(1).float() / 255 for part in (train, test))
    digit = captioned.factors[train.captions][:, 0]
    target = torch.nn.functional.one_hot(digit, 10).float() - 0.1
    weights = torch.linalg.solve(x.T @ x + 50 * torch.eye(784), x.T @ target)
    correct = (y @ weights).argmax(1) == captioned.factors[test.captions][:, 0]
    assert correct.double().mean().item() > 0.65


def test_the_vocabulary_is_nineteen_plain_words(captioned):
    assert len(captioned.vocabulary) == 19
    assert set(captioned.vocabulary) == {word for text in captioned.captions for word in text.split()}
    assert list(captioned.vocabulary) == sorted(captioned.vocabulary)


def test_captions_of_one_data_object_are_drawn_once(few):
    first = with_captions(few)
    assert with_captions(few) is first
    again = with_captions(replace(few))
    assert again is not first
    for part in PARTS:
        assert torch.equal(getattr(again, part).images, getattr(first, part).images)


def test_the_seed_decides_and_repeats(few):
    kept = draw(few, seed=1, train_count=200)
    other = draw(few, seed=2, train_count=200)
    assert not torch.equal(other.train.captions, kept.train.captions)
    assert other.split_hash == kept.split_hash
    again = draw(few, seed=1, train_count=200)
    for part in PARTS:
        assert torch.equal(getattr(again, part).images, getattr(kept, part).images)
        assert torch.equal(getattr(again, part).captions, getattr(kept, part).captions)


def test_a_held_out_caption_in_train_is_an_error(few):
    good = draw(few, train_count=100)
    leaky = CaptionedImages(good.train.images, good.train.captions.clone())
    leaky.captions[17] = good.unseen[0]
    with pytest.raises(DataError, match=r"train holds 'a .*', kept out of it"):
        replace(good, train=leaky)


def test_other_data_is_refused(few):
    with pytest.raises(DataError, match=r"digits: captions need 28x28 grey .* as mnist has"):
        draw(load("digits"))
    clothes = replace(few, name="clothes", classes=tuple("abcdefghij"))
    with pytest.raises(DataError, match=r"clothes: .*got \[1, 28, 28\] and 10 classes \(a, b, c, …\)"):
        draw(clothes)
    with pytest.raises(DataError, match="train_count must be 1 to 400, got 401"):
        draw(few, train_count=401)


def test_transfer_digits_can_be_captioned():
    """scikit-learn's digits at MNIST's size: the same captions on images from another source."""
    transfer = draw(load("digits?size=28"), train_count=1000)
    assert set(transfer.test_unseen.captions.tolist()) <= set(transfer.unseen)
    assert len(transfer.test_unseen) == 147


def test_of_few_images_at_most_half_are_trained_on(few):
    assert len(draw(few).train) == 200


@pytest.fixture(scope="module")
def clothes(garments):
    return draw(garments)


def test_clothes_are_captioned_alike(clothes, measure_brightness, measure_extent):
    assert clothes.scheme is CLOTHES_CAPTIONS
    assert clothes.split_hash == committed_split(CLOTHES_CAPTIONS).hash
    assert set(clothes.train.captions.tolist()) <= set(clothes.seen)
    assert set(clothes.test_unseen.captions.tolist()) <= set(clothes.unseen)
    _, brightness, size = clothes.factors[clothes.train.captions].unbind(1)
    measured = measure_brightness(clothes.train.images)
    off = (measured - torch.tensor(BRIGHTNESSES)[brightness]).abs()
    assert (off < 0.05).double().mean() > 0.98
    assert (measure_extent(clothes.train.images) - torch.tensor(EXTENTS)[size]).abs().max() <= 2


def test_as_a_data_set_the_captions_come_along(few):
    data = as_image_data(few, "captioned-few")
    captioned = with_captions(few)
    assert with_captions(data) is captioned
    assert (len(data.train), len(data.test)) == (len(captioned.train), 400)
    digits = captioned.factors[captioned.train.captions][:, 0]
    assert torch.equal(data.train.labels, digits)
    assert torch.bincount(data.test.labels).tolist() == torch.bincount(few.test.labels).tolist()
    assert data.fingerprint != few.fingerprint
