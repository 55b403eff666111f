"""Compositional zero-shot on real captioned digits: good where it should be, at chance where it should be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import latentbench.data
from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.latent.probes import standardise
from latentbench.analysis.zero_shot.lit import fit_towers, locked_image
from latentbench.analysis.zero_shot.zero_shot_metrics import CaptionScores, harmonic_mean, seen_unseen_auc
from latentbench.data import with_captions
from latentbench.data.captioned.draw import CaptionedImageData
from latentbench.models.family import FAMILIES
from latentbench.models.networks.tokenizer import Tokenizer
from latentbench.models.protocols import Posterior
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, train_or_load

CHANCE = 1 / 90


@pytest.fixture(scope="module")
def pca_16(mnist):
    trained = train_or_load(
        Training(model_spec(family="pca", latent_dim=16), Recipe(), 0), mnist, use_cache=False
    )
    return Subject(trained.model, DataContext(mnist), seed=0)


@pytest.fixture(scope="module")
def captioned(mnist):
    return with_captions(mnist)


@pytest.fixture(scope="module")
def metrics(pca_16, captioned):
    return {metric.name: metric for metric in ANALYSES["zero_shot"].measure(pca_16).metrics}


def encoded(subject, captioned):
    train = subject.encode(captioned.train.images).mean
    return standardise(train, subject.encode(captioned.test_unseen.images).mean)


# On real codes


def test_sixteen_components_recognise_unseen_combinations(metrics):
    assert metrics["zero_shot_top1"].value > 0.7
    assert metrics["zero_shot_top1"].value < metrics["zero_shot_unseen_only"].value
    assert metrics["zero_shot_top1"].value < metrics["zero_shot_seen"].value
    assert metrics["zero_shot_auc"].value > metrics["zero_shot_top1"].value * metrics["zero_shot_seen"].value


def test_a_caption_is_right_where_all_its_factors_are(metrics):
    factors = [metrics[f"zero_shot_{factor}"].value for factor in ("digit", "stroke", "slant")]
    assert sum(factors) - 2 <= metrics["zero_shot_top1"].value <= min(factors)


class Reduced:
    """A code that is a grid of 7 x 7 means of 4 x 4 pixels: its own mean says little, its components much."""

    def encode(self, x):
        return Posterior(F.avg_pool2d(x, 4))


def test_grids_are_recognised_by_means_and_by_components(mnist, metrics):
    measured = ANALYSES["zero_shot"].measure(Subject(Reduced(), DataContext(mnist), seed=0))
    found = {metric.name: metric for metric in measured.metrics}
    assert list(found) == list(metrics)
    names = ("top1", "unseen_only", "seen", "harmonic", "auc")
    for name in names:
        assert found[f"zero_shot_{name}"].reason == "the code is no vector"
        assert metrics[f"zero_shot_{name}_pca256"].reason == "the code is a vector"
        assert found[f"zero_shot_{name}_pooled"].value < found[f"zero_shot_{name}_pca256"].value
    assert found["zero_shot_top1_pooled"].value < 0.1 < 0.5 < found["zero_shot_top1_pca256"].value
    assert {"zero_shot_top1_pooled", "zero_shot_top1_pca256"} == set(measured.examples)


def test_every_number_has_its_error_and_count(metrics, captioned):
    top1 = metrics["zero_shot_top1"]
    assert top1.n == len(captioned.test_unseen)
    assert all(
        0 < metric.se <= metric.common_se < 0.1 for metric in metrics.values() if metric.value is not None
    )
    assert metrics["native_zero_shot_top1"].reason == "no text encoder"


def test_errors_count_captions_not_images(metrics, pca_16, captioned):
    """Each caption is one observation: its share of hits, weighted by its images."""
    measured = ANALYSES["zero_shot"].measure(pca_16)
    hits, captions = measured.examples["zero_shot_top1"], measured.clusters["zero_shot_top1"]
    assert captions.tolist() == captioned.test_unseen.captions.tolist()
    top1, names = metrics["zero_shot_top1"], np.unique(captions)
    residuals = [(hits[captions == name] - top1.value).sum() for name in names]
    assert top1.se == pytest.approx((18 / 17 * np.square(residuals).sum()) ** 0.5 / top1.n)
    assert top1.se > 3 * (top1.value * (1 - top1.value) / top1.n) ** 0.5
    assert top1.common_se == pytest.approx(top1.se * 2.1098 / 1.96, rel=1e-3)


def test_captions_shuffled_among_the_train_images_teach_nothing(pca_16, captioned):
    """The negative control shows any leak from the test to the training."""
    codes, unseen = encoded(pca_16, captioned)
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))
    tokenizer = Tokenizer(captioned.vocabulary)
    shuffled = captioned.train.captions[order]
    towers = fit_towers(codes, shuffled, tokenizer, captioned.captions, seed=0)
    predicted = towers(unseen, tokenizer.encode(captioned.captions)).argmax(1)
    assert (predicted == captioned.test_unseen.captions).double().mean() < 3 * CHANCE


def test_seed_fixes_the_towers_and_keeps_global_rng(captioned):
    codes = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    arguments = codes, captioned.train.captions[:200], Tokenizer(captioned.vocabulary), captioned.captions
    torch.manual_seed(1)
    first = fit_towers(*arguments, seed=0).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    again, other = (fit_towers(*arguments, seed=seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["words.weight"], other["words.weight"])


# Nothing held out is trained on


def test_text_without_train_image_does_not_change_towers(captioned):
    codes = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    tokenizer, captions = Tokenizer(captioned.vocabulary), captioned.train.captions[:200]
    occurring = set(captions.tolist())
    texts = captioned.captions
    changed = tuple(text if i in occurring else "seven seven" for i, text in enumerate(texts))
    one, other = (
        fit_towers(codes, captions, tokenizer, each, seed=0).state_dict() for each in (texts, changed)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_held_out_caption_in_training_is_an_error(pca_16, captioned):
    leaking = replace(captioned, validation=(*captioned.validation, captioned.seen[0]))
    data = pca_16.data
    leaking_data = CaptionedImageData(data.name, data.train, data.test, data.classes, leaking)
    subject = Subject(pca_16.model, DataContext(leaking_data), seed=0)
    with pytest.raises(AssertionError, match="held-out caption is among the train captions"):
        locked_image(subject)


# The sums


def swept_auc(scores):
    """The definition: move the bias through every value that changes an answer, and add up the strips."""
    margins = [
        s[:, scores.held_out].unsqueeze(2) - s[:, ~scores.held_out].unsqueeze(1)
        for s in (scores.seen, scores.unseen)
    ]
    changes = torch.cat([-margin.flatten() for margin in margins]).unique()
    biases = torch.cat([changes[:1] - 1, (changes[1:] + changes[:-1]) / 2, changes[-1:] + 1])
    points = []
    for bias in biases:
        points.append(
            [
                ((s + bias * scores.held_out).argmax(1) == truth).double().mean().item()
                for s, truth in ((scores.seen, scores.seen_truth), (scores.unseen, scores.unseen_truth))
            ]
        )
    seen, unseen = torch.tensor(points).T
    return torch.trapezoid(seen, unseen).item()


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_that_of_the_swept_curve(seed):
    draws = torch.Generator().manual_seed(seed)
    seen_truth, unseen_truth = (torch.randint(low, low + 3, (12,), generator=draws) for low in (0, 3))
    scores = CaptionScores(
        torch.randn(12, 6, generator=draws) + torch.eye(6)[seen_truth],
        seen_truth,
        torch.randn(12, 6, generator=draws) + torch.eye(6)[unseen_truth],
        unseen_truth,
        torch.arange(6) >= 3,
    )
    # A strip in which both accuracies change at once would differ; no two biases here are equal.
    assert seen_unseen_auc(scores)[0] == pytest.approx(swept_auc(scores), abs=1e-6)


def test_area_is_one_if_perfect_and_zero_if_always_wrong():
    perfect = CaptionScores(
        torch.eye(4)[:2], torch.arange(2), torch.eye(4)[2:], torch.arange(2, 4), torch.arange(4) >= 2
    )
    assert seen_unseen_auc(perfect) == (1, None)
    wrong = replace(perfect, seen=-perfect.seen, unseen=-perfect.unseen)
    assert seen_unseen_auc(wrong)[0] == 0


def test_harmonic_mean():
    assert harmonic_mean(0.5, 1.0) == pytest.approx(2 / 3)
    assert harmonic_mean(0.0, 1.0) == harmonic_mean(0.0, 0.0) == 0


# Who has no number


def test_data_that_are_no_digits_are_null():
    digits = model_spec(family="pca", latent_dim=2)
    data = latentbench.data.load("digits")
    model = FAMILIES["pca"].build(digits, data.image_shape)
    measured = ANALYSES["zero_shot"].measure(Subject(model, DataContext(data), seed=0))
    assert all(metric.value is None for metric in measured.metrics)
    assert all("captions need 28x28 grey images" in metric.reason for metric in measured.metrics)


def test_a_text_encoder_has_a_native_number(mnist, captioned):
    """Untrained weights: both numbers are there, and the native one is near chance."""
    torch.manual_seed(0)
    model = FAMILIES["clip"].build(model_spec(family="clip", latent_dim=8), mnist.image_shape).eval()
    subject = Subject(model, DataContext(mnist), seed=0)
    metrics = {metric.name: metric for metric in ANALYSES["zero_shot"].measure(subject).metrics}
    images = captioned.test_unseen.images.float() / 255
    with torch.inference_mode():
        logits = model.encode_image(images) @ model.encode_text(captioned.captions).T
    share = (logits.argmax(1) == captioned.test_unseen.captions).double().mean().item()
    assert metrics["native_zero_shot_top1"].value == pytest.approx(share, abs=1e-3)
    assert metrics["native_zero_shot_top1"].value < 0.1 < metrics["zero_shot_unseen_only"].value


# Every encoder


@pytest.mark.parametrize(
    ("family", "settings"), [("vq", {"latent_dim": 4, "codes": 32, "epochs": 40}), ("fsq", {"latent_dim": 8})]
)
def test_discrete_codes_are_tuned_to_words_as_well(subject_of, family, settings):
    subject = subject_of(family, hidden=64, **settings)
    assert subject.is_discrete
    metrics = {metric.name: metric for metric in ANALYSES["zero_shot"].measure(subject).metrics}
    assert metrics["zero_shot_top1"].value > 3 * CHANCE


def test_confusions_count_all_unseen_images(pca_16, metrics, captioned):
    arrays = ANALYSES["zero_shot"].measure(pca_16).arrays
    for factor in captioned.scheme.factors:
        counts = arrays[f"confusion_{factor.name}"]
        assert counts.sum() == len(captioned.test_unseen)
        assert counts.trace() / counts.sum() == pytest.approx(metrics[f"zero_shot_{factor.name}"].value)
    assert metrics["zero_shot_garment"].reason == "captioned digits name no garment"
