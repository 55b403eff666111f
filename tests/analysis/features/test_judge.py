"""Shipped judges match their cards, damage is an error, and other data get their own judge."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import latentbench.data
from latentbench.analysis.features.judge import (
    JUDGES,
    NO_JUDGE,
    JudgeRecipe,
    accuracy,
    train_judge,
    why_not_judged,
)
from latentbench.analysis.features.stored_judges import (
    SHIPPED,
    find_cards,
    load_judges,
    read_judge,
    write_judge,
)
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.data.sources.named_sets.fashion_mnist import DEBIAN_FOLDER
from latentbench.data.storage.cache import digest_of
from latentbench.models.external.state_dicts import fingerprint

SHORT = JudgeRecipe(epochs=1, smallest_steps=1)


@pytest.fixture(scope="module")
def judge(mnist):
    return load_judges(mnist)[0]


@pytest.fixture(scope="module")
def digits():
    return latentbench.data.load("digits")


@pytest.fixture
def copied(tmp_path):
    """The MNIST judge's card and weights in a folder where they may be harmed."""
    weights = json.loads((SHIPPED / "mnist-0.json").read_text())["weights"]
    for name in ("mnist-0.json", weights):
        shutil.copy(SHIPPED / name, tmp_path)
    return tmp_path / "mnist-0.json", tmp_path / weights


def random_images(n, channels, side, classes):
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, side, side), generator=draws, dtype=torch.uint8)
    split = Split(images, torch.arange(n) % classes)
    return ImageData("random", split, split, tuple(map(str, range(classes))))


# The shipped judges


def test_mnist_judges_have_the_accuracy_of_their_cards(mnist):
    judges = load_judges(mnist)
    assert len({judge.hash for judge in judges}) == 5
    for judge in judges:
        assert accuracy(judge, mnist.test) == judge.accuracy
        assert judge.accuracy >= 0.993


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="Fashion-MNIST is not installed")
def test_fashion_mnist_judges_have_the_accuracy_of_their_cards():
    data = latentbench.data.load("fashion-mnist")
    judges = load_judges(data)
    assert len({judge.hash for judge in judges}) == 5
    for judge in judges:
        assert accuracy(judge, data.test) == pytest.approx(judge.accuracy, abs=5e-4)
        assert judge.accuracy >= 0.915


@pytest.mark.parametrize("card", sorted(SHIPPED.glob("*.json")), ids=lambda card: card.stem)
def test_shipped_card_matches_its_weights(card):
    content = json.loads(card.read_text())
    judge = read_judge(card)
    assert content["hash"] == judge.hash == fingerprint(judge.network.state_dict())
    assert content["n"] == 10_000
    assert content["recipe"]["epochs"] == judge.recipe.epochs


# What a judge sees


def test_view_does_not_depend_on_the_batches(mnist, judge):
    images = mnist.test.images[:1500].float() / 255
    view = judge.view(images)
    assert view.features.shape == (1500, 64)
    assert view.features.dtype == view.probabilities.dtype == torch.float32
    torch.testing.assert_close(view.probabilities.sum(1), torch.ones(1500))
    alone = judge.view(images[1200:1201])
    torch.testing.assert_close(alone.features, view.features[1200:1201], rtol=1e-4, atol=1e-4)
    assert torch.equal(view.predictions, view.probabilities.argmax(1))
    logits = judge.network.classifier(view.features.relu())
    torch.testing.assert_close(logits.softmax(1), view.probabilities)


def test_features_have_full_rank(mnist, judge):
    features = judge.view(mnist.test.images[:2000].float() / 255).features.double()
    assert torch.linalg.matrix_rank(features - features.mean(0)) == 64


# Damage


def test_changed_weight_is_an_error(copied):
    card, weights = copied
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(LatentbenchError, match=r"\.safetensors: .* hash that mnist-0.json states"):
        read_judge(card)


def test_truncated_weights_are_an_error(copied):
    card, weights = copied
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(LatentbenchError, match=r"\.safetensors: not this judge's weights"):
        read_judge(card)


def test_missing_weights_are_an_error(copied):
    card, weights = copied
    weights.unlink()
    with pytest.raises(LatentbenchError, match=r"\.safetensors: not this judge's weights"):
        read_judge(card)


def test_weights_of_another_network_are_an_error(copied):
    card, weights = copied
    save_file({"weight": torch.zeros(3)}, weights)
    with pytest.raises(LatentbenchError, match="not this judge's weights"):
        read_judge(card)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hash": "0" * 64}, "mnist-0.json: was changed after it was written"),
        ({"accuracy": 0.999}, "mnist-0.json: was changed after it was written"),
        ({"accuracy": "high"}, "mnist-0.json: not a judge's card: accuracy: Input should be a valid number"),
        ({"recipe": {"epoch": 3}}, "mnist-0.json: not a judge's card: recipe.epoch"),
        ({"channels": 0}, "mnist-0.json: not a judge's card: channels"),
        ({"weights": "../other.safetensors"}, "mnist-0.json: not a judge's card: weights"),
        ({"weights": "missing.safetensors"}, "mnist-0.json: was changed after it was written"),
    ],
)
def test_changed_card_is_an_error(copied, change, message):
    card, _ = copied
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(LatentbenchError, match=message):
        read_judge(card)


def test_card_without_a_later_field_is_read(copied):
    """The digest is of the card as it was written, not as this version would write it."""
    card, _ = copied
    content = json.loads(card.read_text())
    del content["digest"], content["recipe"]["shift"]
    card.write_text(json.dumps({**content, "digest": digest_of(content)}))
    assert read_judge(card).recipe.shift == JudgeRecipe().shift


def test_card_that_is_not_json_is_an_error(copied):
    card, _ = copied
    card.write_text("{")
    with pytest.raises(LatentbenchError, match=r"mnist-0\.json: not a judge's card: the file: Invalid JSON"):
        find_cards(card.parent, "any")


def test_damaged_shipped_judge_asks_to_reinstall(monkeypatch, copied):
    card, _ = copied
    monkeypatch.setattr("latentbench.analysis.features.stored_judges.SHIPPED", card.parent)
    card.write_text("{")
    with pytest.raises(LatentbenchError, match="reinstall latentbench"):
        read_judge(card)


# Judges of other data


def test_other_data_get_several_judges(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    steps = []

    def progress(number, count):
        return lambda done, total: steps.append((number, count, done, total))

    trained = load_judges(digits, progress=progress)
    assert len({judge.hash for judge in trained}) == JUDGES
    for number in range(1, JUDGES + 1):
        done = [(done, total) for each, _, done, total in steps if each == number]
        ends = done[-1][1]
        assert [each for each, _ in done] == list(range(1, ends + 1))
        assert done[0][1] == 600
        assert ends < 600  # the digits are learned before
    for judge in trained:
        assert judge.accuracy >= 0.94
        assert judge.data == digits.fingerprint
    del steps[:]
    cached = load_judges(digits, progress=progress)
    assert not steps
    assert [(judge.hash, judge.accuracy) for judge in cached] == [(j.hash, j.accuracy) for j in trained]
    images = digits.test.images.float() / 255
    assert torch.equal(cached[0].view(images).features, trained[0].view(images).features)
    assert {path.suffix for path in (tmp_path / "judges").iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_changed_cached_judge_is_trained_again(tmp_path, monkeypatch, suffix):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("latentbench.analysis.features.stored_judges.QUICK", SHORT)
    few = random_images(24, 1, 8, 2)
    first = load_judges(few)
    file = min((tmp_path / "judges").glob(f"*{suffix}"))
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 0x40]) + content[1:])
    notes = []
    again = load_judges(few, note=notes.append)
    assert [judge.hash for judge in again] == [judge.hash for judge in first]
    assert [note.startswith(f"{file}: ") for note in notes] == [True]
    assert file.read_bytes() == content


def test_large_images_are_judged_by_their_areas():
    coarse = random_images(24, 3, 64, 2)
    fine = ImageData("fine", *(_enlarged(split) for split in (coarse.train, coarse.test)), coarse.classes)
    judge = train_judge(coarse, recipe=SHORT)
    assert train_judge(fine, recipe=SHORT).hash == judge.hash
    views = [judge.view(data.test.images.float() / 255).features for data in (coarse, fine)]
    torch.testing.assert_close(*views)


def _enlarged(split):
    return Split(split.images.repeat_interleave(4, 2).repeat_interleave(4, 3), split.labels)


def test_judges_that_know_nothing_are_too_poor(judge, mnist):
    assert why_not_judged([judge, judge], mnist) is None
    poor = replace(judge, accuracy=0.118)
    assert why_not_judged([poor], mnist).startswith("the judges are too poor: 11.8% of 10,000 test images")
    assert why_not_judged([], mnist) == NO_JUDGE


def test_training_depends_on_its_seed_only(digits):
    torch.manual_seed(1)
    first = train_judge(digits, recipe=SHORT, seed=0)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    assert train_judge(digits, recipe=SHORT, seed=0).hash == first.hash
    assert train_judge(digits, recipe=SHORT, seed=1).hash != first.hash


@pytest.mark.parametrize(("channels", "side", "classes"), [(1, 8, 2), (3, 9, 3), (3, 128, 11)])
def test_any_size_channels_and_classes_can_be_judged(channels, side, classes, tmp_path):
    data = random_images(24, channels, side, classes)
    judge = train_judge(data, recipe=SHORT)
    again = read_judge(write_judge(judge, tmp_path, "random", n=24))
    view = again.view(data.test.images.float() / 255)
    assert view.probabilities.shape == (24, classes)
    assert view.features.isfinite().all()


def test_data_without_two_classes_have_no_judge():
    data = random_images(24, 1, 8, 2)
    images = Split(data.train.images, None)
    unlabelled = ImageData("random", images, images, ())
    assert load_judges(unlabelled) == ()
    assert load_judges(random_images(24, 1, 8, 1)) == ()
    with pytest.raises(LatentbenchError, match="random: a judge needs"):
        train_judge(unlabelled)
