"""Prompts, controls and transfer, on real captioned digits and on a made-up model with known answers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.prompts.questions import question
from latentbench.analysis.statistics.intervals import binomial_se, clustered_se
from latentbench.analysis.stored.lines import from_lines
from latentbench.analysis.zero_shot import controls as controls_module
from latentbench.analysis.zero_shot import lit
from latentbench.analysis.zero_shot.controls import fit_classifier
from latentbench.analysis.zero_shot.transfer import target_digits
from latentbench.data import load, with_captions
from latentbench.data.captioned.schemes import CLOTHES_CAPTIONS, DIGIT_CAPTIONS
from latentbench.data.images import ImageData
from latentbench.data.sources.named_sets.class_names import GARMENTS as CLASSES

CHANCE = 1 / 90
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def measured(name, subject):
    measurement = ANALYSES[name].measure(subject)
    assert [m.name for m in measurement.metrics] == [m.name for m in ANALYSES[name].metrics]
    return {metric.name: metric for metric in measurement.metrics}, measurement.arrays


class ColourModel(torch.nn.Module):
    """Sees an image as its mean colour, reads a text as the colours it names, and counts what it is asked."""

    scale = 100.0

    def __init__(self):
        super().__init__()
        self.asked = []

    def encode_image(self, x):
        return F.normalize(x.mean((2, 3)) + 1e-6, dim=1)

    def encode_text(self, captions):
        self.asked.append(list(captions))
        named = torch.tensor([[float(colour in text) for colour in COLOURS] for text in captions])
        return F.normalize(named + 0.01, dim=1)


@pytest.fixture
def folder(tmp_path):
    """Three classes of four images each."""
    for name, colour in COLOURS.items():
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.new("RGB", (16, 16), colour).save(tmp_path / name / f"{index}.png")
    (tmp_path / "classes.txt").write_text("\n".join(sorted(COLOURS)))
    (tmp_path / "templates.txt").write_text("a {} thing\n{}\n")
    return tmp_path


def colours(folder):
    return Subject(ColourModel(), DataContext(load(f"folder:{folder}?size=16")), seed=0)


@pytest.fixture(scope="module")
def clip(subject_of):
    return subject_of("clip", 8, epochs=4)


@pytest.fixture(scope="module")
def asked_clip(clip):
    return measured("prompts", clip)


# On a folder, with known answers


def test_a_model_that_sees_and_reads_is_right_every_time(folder):
    metrics, arrays = measured("prompts", colours(folder))
    assert metrics["prompt_top1"].value == metrics["prompt_mean_recall"].value == 1
    assert metrics["prompt_top1"].n == 12
    assert "all class names differ" in metrics["prompt_top1_by_name"].reason
    assert metrics["prompt_top5"].value is None
    assert "fewer than 5 classes: 3" in metrics["prompt_top5"].reason
    assert metrics["prompt_spread"].value == 0
    assert metrics["image_retrieval_recall_1"].value == metrics["text_retrieval_recall_1"].value == 1
    assert "fewer than 5 candidates: 3" in metrics["text_retrieval_recall_5"].reason
    assert metrics["prompt_calibration_error"].value < 0.01
    assert (arrays["confusion"] == 4 * np.eye(3)).all()
    assert from_lines(arrays["template_lines"]) == ["a {} thing", "{}"]
    assert from_lines(arrays["class_lines"]) == ["blue", "green", "red"]


def test_every_text_is_encoded_once_and_all_at_once(folder):
    subject = colours(folder)
    measured("prompts", subject)
    (texts,) = subject.model.asked
    assert len(texts) == len(set(texts)) == 6


def test_an_unreadable_image_is_a_miss(folder):
    (folder / "red" / "9.png").write_bytes(b"no image")
    metrics, arrays = measured("prompts", colours(folder))
    assert metrics["unreadable_images"].value == 1
    assert (metrics["prompt_top1"].value, metrics["prompt_top1"].n) == (12 / 13, 13)
    # Given the classes of a folder, its images are independent.
    assert metrics["prompt_top1"].se == binomial_se(12, 13)
    assert metrics["prompt_mean_recall"].value == pytest.approx((1 + 1 + 4 / 5) / 3)
    assert arrays["confusion"].sum() == 12
    assert from_lines(arrays["unreadable_lines"]) == ["red/9.png"]


def test_classes_of_one_name_are_told_by_index_and_by_name(tmp_path):
    """Six classes of one image, two pairs with one name: the first of a pair is right, the second is not."""
    shades = {"a": "red", "b": "green", "c": "red", "d": "blue", "e": "green", "f": "yellow"}
    for name, colour in shades.items():
        (tmp_path / name).mkdir()
        Image.new("RGB", (16, 16), colour).save(tmp_path / name / "1.png")
    (tmp_path / "classes.txt").write_text("\n".join(shades.values()))

    class YellowToo(ColourModel):
        def encode_text(self, captions):
            vectors = super().encode_text(captions)
            yellow = torch.tensor([["yellow" in text] for text in captions])
            return torch.where(yellow, F.normalize(torch.tensor([[1.0, 1.0, 0.0]]), dim=1), vectors)

    subject = Subject(YellowToo(), DataContext(load(f"folder:{tmp_path}?size=16")), seed=0)
    metrics, arrays = measured("prompts", subject)
    assert metrics["prompt_top1"].value == pytest.approx(4 / 6)
    assert metrics["prompt_top1_by_name"].value == 1
    assert arrays["class_recall"].tolist() == [1, 1, 0, 1, 0, 1]


def test_the_numbers_follow_the_templates(folder):
    (folder / "templates.txt").write_text("{}\nred and {}\nthing\n".replace("thing\n", "a red green {}\n"))
    metrics, arrays = measured("prompts", colours(folder))
    assert metrics["prompt_best"].value == 1
    assert metrics["prompt_worst"].value == pytest.approx(min(arrays["template_accuracy"]))
    assert metrics["prompt_spread"].value > 0


# On captioned digits


def test_ensemble_lies_among_templates_and_shortened_ones_cost(asked_clip):
    metrics, arrays = asked_clip
    assert len(arrays["template_accuracy"]) == len(DIGIT_CAPTIONS.templates + DIGIT_CAPTIONS.reworded)
    assert metrics["prompt_worst"].value <= metrics["prompt_top1"].value <= metrics["prompt_best"].value + 0.1
    # Who is told the digit alone cannot name stroke and slant but by guessing: 1 in 9.
    assert arrays["shortened_accuracy"][2] <= 1 / 9
    assert metrics["prompt_shortened"].value <= (1 / 3 + 1 / 3 + 1 / 9) / 3
    assert np.isfinite(arrays["class_recall"]).sum() == 18


def test_the_width_curve_ends_at_the_whole(asked_clip):
    metrics, arrays = asked_clip
    assert arrays["curve_widths"].tolist() == [2, 4, 8]
    for name in ("curve_truncated", "curve_pca"):
        assert arrays[name][-1] == pytest.approx(metrics["prompt_top1"].value, abs=0.01)


def test_the_native_number_is_that_of_the_first_template(asked_clip, clip):
    native, _ = measured("zero_shot", clip)
    _, arrays = asked_clip
    assert arrays["template_accuracy"][0] == pytest.approx(native["native_zero_shot_top1"].value, abs=2e-3)


def test_errors_of_prompts_count_captions(asked_clip, clip, folder):
    metrics, _ = asked_clip
    measurement = ANALYSES["prompts"].measure(clip)
    hits, captions = measurement.examples["prompt_top1"], measurement.clusters["prompt_top1"]
    assert metrics["prompt_top1"].value == hits.mean()
    assert metrics["prompt_top1"].se == clustered_se(hits, captions)
    among_ten = metrics["text_retrieval_recall_10"]
    assert among_ten.se > 2 * binomial_se(round(among_ten.value * among_ten.n), among_ten.n)
    assert not ANALYSES["prompts"].measure(colours(folder)).clusters


def test_an_autoencoder_has_no_prompts(pca):
    metrics, arrays = measured("prompts", pca)
    assert not arrays
    assert {metric.reason for metric in metrics.values()} == {"no text encoder"}


def test_data_without_classes_or_captions_have_no_question(mnist_small):
    train, test = mnist_small.train, mnist_small.test
    bare = ImageData("bare", type(train)(train.images, None), type(test)(test.images, None), ())
    subject = Subject(ColourModel(), DataContext(bare), seed=0)
    metrics, _ = measured("prompts", subject)
    assert {metric.reason for metric in metrics.values()} == {"bare: no classes to recognise by name"}


def test_captions_of_clothes_are_asked_too(mnist_small):
    clothes = ImageData("clothes", mnist_small.train, mnist_small.test, CLASSES)
    asked = question(clothes)
    assert asked.names == CLOTHES_CAPTIONS.captions
    assert set(asked.truth.tolist()) <= set(with_captions(clothes).unseen)


# Controls


def test_nothing_learned_is_chance_and_the_rival_is_not(pca, monkeypatch):
    for module in (controls_module, lit):
        monkeypatch.setattr(module, "STEPS", 150)
    metrics, _ = measured("controls", pca)
    untrained, shuffled, new = (
        metrics[f"zero_shot_{name}"] for name in ("untrained", "shuffled", "new_name")
    )
    assert abs(untrained.value - CHANCE) < 3 * untrained.se
    # At most 3 standard errors above, images of one caption counting as one.
    assert shuffled.value < CHANCE + 3 * (CHANCE / (controls_module.SHUFFLES * 18)) ** 0.5
    assert (CHANCE / shuffled.n) ** 0.5 < shuffled.se
    assert new.value < CHANCE + 3 * (CHANCE / 9) ** 0.5
    assert metrics["zero_shot_rival"].value > 20 * CHANCE


def test_a_classifier_is_supervised_and_repeats():
    codes = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    labels = (codes[:, 0] > 0).long()
    torch.manual_seed(5)
    first, again = (fit_classifier(codes, labels, seed=0) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert (first(codes).argmax(1) == labels).double().mean() > 0.97


def test_data_without_captions_have_no_controls_and_no_transfer():
    subject = Subject(ColourModel(), DataContext(load("digits")), seed=0)
    for name in ("controls", "transfer"):
        metrics, _ = measured(name, subject)
        assert all("captions need 28x28" in metric.reason for metric in metrics.values())


# Transfer


def test_transfer_digits_are_read_by_words_and_judge(pca, clip):
    metrics, _ = measured("transfer", pca)
    assert metrics["transfer_rival"].value > 0.5
    assert metrics["transfer_top1"].value > 0.3
    assert metrics["transfer_top1"].n == 1797
    assert metrics["native_transfer_top1"].reason == "no text encoder"
    native = measured("transfer", clip)[0]["native_transfer_top1"]
    assert native.n == 1797
    assert native.value is not None


def test_the_target_has_mnists_margins():
    images, labels = target_digits()
    assert images.shape == (1797, 1, 28, 28)
    assert labels.bincount().min() > 170
    assert not images[:, :, :4].any()
    assert not images[..., -4:].any()
