"""The effect of each choice of a zero-shot evaluation on its accuracy, for one model on one data set.

Published numbers of one checkpoint differ since scripts resize, compute, word and average differently. Each
factor is changed alone; its effect is the mean difference over the images, paired, with its standard error.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.prompts.own_vectors import OwnVectors, own_vectors
from latentbench.analysis.prompts.questions import EmbeddedPrompts, Question, question
from latentbench.analysis.prompts.text_vectors import text_vectors
from latentbench.analysis.statistics.intervals import NORMAL_95, binomial_se, standard_error
from latentbench.analysis.zero_shot.zero_shot_metrics import ensemble, hits_at
from latentbench.data.reading.image_files import Reader, read_image
from latentbench.data.reading.prompted import DEFAULT_TEMPLATES, PromptedImageData
from latentbench.data.sources.class_names import prompts_of
from latentbench.models.external.open_clip import Pretrained

OTHER_FILTER = {"bicubic": "bilinear", "bilinear": "bicubic"}
OTHER_PRECISION = {"fp32": "bf16", "bf16": "fp32"}


@dataclass(frozen=True)
class Effect:
    """The accuracy with one factor changed, and the change; half of its 95 % interval is `half_width`."""

    factor: str
    choice: str
    """The usual choice and the other one: `bicubic → bilinear`."""
    accuracy: float
    change: float
    half_width: float
    different: int
    """The number of images that are right with one choice and wrong with the other."""


@dataclass(frozen=True)
class ZeroShotExplanation:
    """The usual top-1 accuracy, and the effect of each factor by itself."""

    accuracy: float
    n: int
    effects: tuple[Effect, ...]


@torch.inference_mode()
def explain_accuracy(model: Pretrained, data: PromptedImageData, device: torch.device) -> ZeroShotExplanation:
    """Measure the accuracy as usual, and with each factor changed."""
    context, asked = DataContext(data, device=device), question(data)

    def images(variant: Pretrained, reader: Reader = data.reader) -> OwnVectors:
        return own_vectors(Subject(variant, context, seed=0), reader)

    def texts(variant: Pretrained, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        rows = prompts_of(names, templates)
        return torch.stack([text_vectors(variant, row, device) for row in rows])

    image, prompts = images(model), texts(model, asked.names, asked.templates)
    usual = _hits(asked, image, ensemble(prompts))
    effects = []

    def changed(factor: str, choice: str, hits: Tensor) -> None:
        effects.append(_effect(factor, choice, usual, hits))

    read_by_us = _hits(asked, images(model, read_image), ensemble(prompts))
    changed("file reading", "as CLIP_benchmark → as latentbench", read_by_us)
    interpolation = str(model.preprocessing.get("interpolation", "bicubic"))
    if other := OTHER_FILTER.get(interpolation):
        variant = _variant(model, preprocessing={**model.preprocessing, "interpolation": other})
        changed(
            "resize filter", f"{interpolation} → {other}", _hits(asked, images(variant), ensemble(prompts))
        )
    precision = OTHER_PRECISION[model.spec.precision]
    variant = _variant(model, spec=model.spec.model_copy(update={"precision": precision}))
    text = ensemble(texts(variant, asked.names, asked.templates))
    changed("precision", f"{model.spec.precision} → {precision}", _hits(asked, images(variant), text))
    for templates in _other_prompts(asked.templates):
        text = ensemble(texts(model, asked.names, templates))
        changed("prompt set", f"{_shown(asked.templates)} → {_shown(templates)}", _hits(asked, image, text))
    for how, names in _other_spellings(asked.names).items():
        text = ensemble(texts(model, names, asked.templates))
        changed("class spelling", f"as given → {how}", _hits(asked, image, text))
    if len(asked.templates) > 1:
        changed("averaging", "normalised → not normalised", _hits(asked, image, prompts.mean(0)))
        changed("averaging", "all → first template", _hits(asked, image, prompts[0]))
    return ZeroShotExplanation(usual.double().mean().item(), len(usual), tuple(effects))


def _variant(model: Pretrained, **changes: Any) -> Pretrained:
    """Return a model with the same weights and other settings."""
    other = copy.copy(model)
    for name, value in changes.items():
        setattr(other, name, value)
    return other


def _hits(asked: Question, image: OwnVectors, text: Tensor) -> Tensor:
    """Return which images are recognised, bool `[N]`."""
    asked = replace(asked, readable=image.readable)
    embedded = EmbeddedPrompts(asked, image.vectors, text.unsqueeze(0), text[:0])
    return hits_at(embedded.cosines(image.vectors, text), embedded.truth, 1)


def _effect(factor: str, choice: str, usual: Tensor, hits: Tensor) -> Effect:
    difference = hits.double() - usual.double()
    different = int(difference.abs().sum())
    # If no image changed, the error would be 0 and claim certainty.
    se = standard_error(difference) if different else None
    if se is None:
        se = binomial_se(0, len(difference))
    return Effect(
        factor, choice, hits.double().mean().item(), difference.mean().item(), NORMAL_95 * se, different
    )


def _other_prompts(templates: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield other sets of templates: the usual single one, and the bare name."""
    for other in (DEFAULT_TEMPLATES, ("{}",)):
        if other != tuple(templates):
            yield other


def _shown(templates: Sequence[str]) -> str:
    return f"“{templates[0]}”" if len(templates) == 1 else f"{len(templates)} templates"


def _other_spellings(names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return other spellings of the class names that change any."""
    spelt = {
        "lower case": tuple(name.lower() for name in names),
        "with underscores": tuple(name.replace(" ", "_") for name in names),
        "capitalised": tuple(name.title() for name in names),
    }
    return {how: other for how, other in spelt.items() if other != tuple(names)}
