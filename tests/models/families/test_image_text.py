"""Image–text families: losses agree with open_clip, training uses the right captions and is repeatable."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.loss import ClipLoss, SigLipLoss

from latentbench.data import DataError, load, with_captions
from latentbench.data.captioned.schemes import DIGIT_CAPTIONS, SCHEMES, committed_split
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import checkpoint
from latentbench.models.families.image_text.contrastive import (
    alignment,
    modality_gap,
    pairwise_sigmoid,
    symmetric_cross_entropy,
    uniformity,
)
from latentbench.models.families.image_text.matryoshka import nested_widths
from latentbench.models.training.engine import TrainingStep
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import FAMILIES, Training, model_spec, train_or_load

NATIVE = ("clip", "siglip", "matryoshka")
every_family = pytest.mark.parametrize("family", NATIVE)


def unit(count, dimensions, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, dimensions, generator=draws), dim=1)


@pytest.fixture(scope="module")
def few():
    mnist = load("mnist")
    splits = (Split(part.images[:600], part.labels[:600]) for part in (mnist.train, mnist.test))
    return ImageData("few", *splits, mnist.classes)


def built(family, width=8, **settings):
    torch.manual_seed(0)
    return FAMILIES[family].build(model_spec(family=family, latent_dim=width, **settings), (1, 28, 28))


def stepped(model, count=16, *, template=0.0):
    """The terms of a step on made-up images, each caption in turn."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=draws)
    caption = torch.arange(count) % 5
    draw = {"template": torch.full((len(model.seen_tokens),), template)}
    return model(TrainingStep((images, caption), draw, torch.tensor(0.5), 1000))


# The losses


def test_with_a_caption_to_each_image_the_loss_is_open_clips():
    image, text, scale = unit(12, 6), unit(12, 6, 1), torch.tensor(14.0)
    ours = sum(symmetric_cross_entropy(scale * image @ text.T, torch.arange(12))) / 2
    assert ours.item() == pytest.approx(ClipLoss()(image, text, scale).item(), rel=1e-6)


def test_sigmoid_loss_equals_open_clip_for_unique_captions():
    image, text = unit(12, 6), unit(12, 6, 1)
    scale, bias = torch.tensor(10.0), torch.tensor(-10.0)
    ours = pairwise_sigmoid(scale * image @ text.T + bias, torch.arange(12))
    assert ours.item() == pytest.approx(SigLipLoss()(image, text, scale, bias).item(), rel=1e-6)


def test_a_duplicate_is_never_a_negative():
    """Three images of one caption: open_clip's in-batch losses push two true pairs apart, ours none."""
    image = unit(1, 6).repeat(3, 1)
    logits = 20 * image @ torch.cat([image[:1], -image[:1]]).T
    caption = torch.zeros(3, dtype=torch.long)
    assert pairwise_sigmoid(logits, caption).item() < 1e-6
    to_text, to_image = symmetric_cross_entropy(logits, caption)
    assert to_text.item() < 1e-6
    # A caption with three equal images can do no better than ln 3.
    assert to_image.item() == pytest.approx(math.log(3))
    assert ClipLoss()(image, image, torch.tensor(20.0)).item() == pytest.approx(math.log(3))


@given(st.permutations(range(8)))
@settings(max_examples=20, deadline=None)
def test_the_losses_do_not_depend_on_the_order_of_images(order):
    logits = 10 * unit(8, 4) @ unit(3, 4, 1).T
    caption = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    rows = torch.tensor(order)
    for loss in (lambda *a: sum(symmetric_cross_entropy(*a)), pairwise_sigmoid):
        assert loss(logits[rows], caption[rows]).item() == pytest.approx(
            loss(logits, caption).item(), rel=1e-5
        )


def test_nested_losses_are_clips_at_each_width():
    model = built("matryoshka", 16)
    terms = stepped(model)
    narrow = {f"loss_at_{width}" for width in nested_widths(16)}
    assert narrow == {"loss_at_4", "loss_at_8", "loss_at_16"} == {n for n in terms if n.startswith("loss_at")}
    assert terms["loss"].item() == pytest.approx(sum(terms[name].item() for name in narrow) / 3)
    image, text = unit(9, 16), unit(5, 16, 1)
    caption = torch.arange(9) % 5
    cut = model.contrast(image, text, caption)["loss_at_4"]
    logits = model.scale * F.normalize(image[:, :4], dim=1) @ F.normalize(text[:, :4], dim=1).T
    assert cut.item() == pytest.approx(sum(symmetric_cross_entropy(logits, caption)).item() / 2, rel=1e-6)


# The space


def test_alignment_uniformity_and_gap_of_known_spaces():
    axes = torch.eye(4)
    assert alignment(axes, axes).item() == 0
    assert alignment(axes, -axes).item() == pytest.approx(4)
    assert uniformity(axes[:1].repeat(5, 1)).item() == pytest.approx(0, abs=1e-6)
    assert uniformity(torch.tensor([[1.0, 0], [-1, 0]])).item() == pytest.approx(-8)
    assert modality_gap(axes, axes).item() == 0
    assert modality_gap(axes[:1], -axes[:1]).item() == pytest.approx(2)


@every_family
def test_the_history_has_the_space_and_the_temperature(family):
    terms = stepped(built(family))
    assert terms.keys() >= {"loss", "temperature", "alignment", "uniformity", "modality_gap"}
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    assert terms["temperature"].item() == pytest.approx(0.1 if family == "siglip" else 0.07, rel=1e-5)
    assert not terms["alignment"].requires_grad


# What is trained on


@every_family
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_no_held_out_caption_is_ever_among_the_texts(family, scheme):
    model, split = built(family), committed_split(scheme)
    model.describe(scheme, split.seen)
    texts = set(model.tokenizer.decode(model.seen_tokens.flatten(0, 1)))
    assert len(texts) == 63 * len(scheme.templates)
    for template in scheme.templates + scheme.reworded:
        held_out = [scheme.captions_by(template)[i] for i in (*split.validation, *split.unseen)]
        assert texts.isdisjoint(model.tokenizer.decode(model.tokenizer.encode(held_out)))


def test_the_draw_decides_which_template_is_read():
    model = built("clip")
    by_template = {stepped(model, template=share)["loss"].item() for share in (0.0, 0.3, 0.6, 0.9)}
    assert len(by_template) == len(DIGIT_CAPTIONS.templates)


def test_data_without_captions_cannot_train_a_clip():
    with pytest.raises(DataError, match="captions need 28x28 grey images"):
        built("clip").prepare(load("digits"))


def test_too_long_captions_and_unknown_words_are_errors():
    model = built("clip")
    with pytest.raises(LatentbenchError, match=r"has 11 words; allowed: 1 to 10"):
        model.encode_text(["a " * 11])
    with pytest.raises(LatentbenchError, match="unknown word 'elephant'"):
        model.encode_text(["a bold elephant"])


# Training


@every_family
def test_seed_fixes_weights_and_checkpoint_keeps_answers(family, few, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    recipe = Recipe(epochs=2, batch_size=100)
    first, other = (
        train_or_load(Training(model_spec(family=family, latent_dim=8), recipe, seed), few) for seed in (0, 1)
    )
    again = train_or_load(Training(model_spec(family=family, latent_dim=8), recipe, 0), few, use_cache=False)
    state, twin = first.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(state[name], twin[name]) for name in state)
    loss = first.history.terms["loss"]
    assert (loss == again.history.terms["loss"]).all()
    assert loss[-1] < loss[0]
    assert not torch.equal(state["towers.logit_scale"], other.model.state_dict()["towers.logit_scale"])
    loaded = checkpoint.load(first.folder).model
    images = with_captions(few).test_unseen.images[:20].float() / 255
    with torch.inference_mode():
        assert torch.equal(loaded.encode_image(images), first.model.encode_image(images))
        assert loaded.encode_text(["a bold seven"]).norm().item() == pytest.approx(1)
    assert loaded.width == 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_clip_of_width_32_recognises_most_unseen_captions(seed):
    mnist = load("mnist")
    recipe = Recipe(epochs=4, batch_size=128, learning_rate=0.003, adam_betas=(0.9, 0.95))
    spec = model_spec(family="clip", latent_dim=32)
    model = train_or_load(Training(spec, recipe, seed), mnist, use_cache=False).model
    drawn = with_captions(mnist)
    with torch.inference_mode():
        image = torch.cat([model.encode_image(b.float() / 255) for b in drawn.test_unseen.images.split(1000)])
        predicted = (image @ model.encode_text(drawn.captions).T).argmax(1)
    assert (predicted == drawn.test_unseen.captions).double().mean() > 0.85
