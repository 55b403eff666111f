"""Prompts: how well a model with a text encoder of its own recognises images by words, and how that hangs on
the words.

Captioned data are asked by their captions: images of unseen captions, among all 90, by each of the scheme's
templates. Other data with classes are asked by their names, put into the templates that came with them or
into “a photo of a {}.”. Every text is encoded once, in one go, and every image once.

With a description that leaves something out, no image encoder can do better than guess the rest: the
bottleneck shifts to the description. The `shortened` templates measure by how much.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.metric import Better, Metric, MetricDefinition, Unmeasurable, define, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.statistics.intervals import binomial_se, standard_error
from latentbench.analysis.zero_shot.zero_shot_metrics import (
    cut,
    ensemble,
    expected_calibration_error,
    hits_at,
    principal_axes,
    recall_per_class,
    reliability,
    retrieval_recall,
    tied_accuracy,
    widths_up_to,
)
from latentbench.data.captioned.draw import CaptionedData, with_captions
from latentbench.data.errors import DataError
from latentbench.data.images import ImageData
from latentbench.data.sources.class_names import prompts_of
from latentbench.data.sources.zero_shot_folder import PromptedImageData, templates_of
from latentbench.models.protocols import ImageTextModel
from latentbench.models.training.contrastive import alignment, modality_gap, uniformity

NO_TEXT = "no text encoder"
TOP = 5
RECALLS = (1, 5, 10)
AXES_FITTED = 5_000
"""Train images whose embeddings give the principal axes."""
PAIRS = 2_000
"""Images among all pairs of which uniformity is measured."""

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Question:
    """Images `[N, C, H, W]`, int64 `[N]` which of the K classes each is, and the texts to tell by.

    `texts` and `shortened` hold K texts a template; `readable` bool `[N]` says which images are one.
    """

    images: Tensor
    truth: Tensor
    readable: Tensor
    names: tuple[str, ...]
    templates: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    shortened_templates: tuple[str, ...]
    shortened: tuple[tuple[str, ...], ...]
    train: Tensor


def question(data: ImageData) -> Question:
    """What images of `data` are asked by. Raises DataError for data without classes."""
    try:
        return _by_captions(with_captions(data))
    except DataError:
        return _by_names(data)


def _by_captions(drawn: CaptionedData) -> Question:
    scheme, test = drawn.scheme, drawn.test_unseen
    templates = scheme.templates + scheme.reworded
    return Question(
        images=test.images,
        truth=test.captions,
        readable=torch.ones(len(test), dtype=torch.bool),
        names=scheme.captions,
        templates=templates,
        texts=tuple(scheme.captions_by(template) for template in templates),
        shortened_templates=scheme.shortened,
        shortened=tuple(scheme.captions_by(template) for template in scheme.shortened),
        train=drawn.train.images,
    )


def _by_names(data: ImageData) -> Question:
    if data.test.labels is None:
        raise DataError(f"{data.name}: no classes to tell by their names")
    templates = templates_of(data)
    everything = torch.ones(len(data.test), dtype=torch.bool)
    return Question(
        images=data.test.images,
        truth=data.test.labels,
        readable=data.readable if isinstance(data, PromptedImageData) else everything,
        names=data.classes,
        templates=templates,
        texts=prompts_of(data.classes, templates),
        shortened_templates=(),
        shortened=(),
        train=data.train.images,
    )


def _define(
    name: str,
    heading: str,
    title: str,
    *,
    unit: str = "accuracy",
    better: Better = "higher",
    headline: bool = False,
    decimals: int = 3,
) -> MetricDefinition:
    return define(
        name,
        unit=unit,
        better=better,
        title=title,
        heading=heading,
        headline=headline,
        decimals=decimals,
    )


TOP1 = _define(
    "prompt_top1",
    "prompts top-1",
    "Images recognised by the model's own text encoder, templates averaged; an unreadable one is a miss.",
    headline=True,
)
TOP5 = _define("prompt_top5", "prompts top-5", "As prompts top-1, among the five best.")
MEAN_RECALL = _define(
    "prompt_mean_recall", "prompts recall", "As prompts top-1, mean of the classes' own accuracies."
)
CALIBRATION = _define(
    "prompt_calibration_error",
    "prompts ECE",
    "Mean distance of confidence from accuracy in 15 bins, at the model's temperature.",
    unit="fraction",
    better="lower",
)
BEST = _define("prompt_best", "best prompt", "As prompts top-1, by the best single template.")
WORST = _define("prompt_worst", "worst prompt", "As prompts top-1, by the worst single template.")
SPREAD = _define(
    "prompt_spread",
    "prompt spread",
    "Standard deviation over templates of their accuracies.",
    better="neither",
)
SHORTENED = _define(
    "prompt_shortened",
    "shortened",
    "As prompts top-1, by descriptions that leave something out, guessing what they do not tell; mean.",
)
IMAGE_RECALL = {
    k: _define(
        f"image_retrieval_recall_{k}",
        f"text→image R@{k}",
        f"Share of texts with an image of theirs among the {k} nearest.",
    )
    for k in RECALLS
}
TEXT_RECALL = {
    k: _define(
        f"text_retrieval_recall_{k}",
        f"image→text R@{k}",
        f"Share of readable images with their text among the {k} nearest.",
    )
    for k in RECALLS
}
UNREADABLE = _define(
    "unreadable_images",
    "unreadable",
    "Files that could not be read as images; they count as misses.",
    unit="count",
    better="lower",
    decimals=0,
)
ALIGNMENT = _define(
    "alignment", "alignment", "Mean squared distance of an image from its text.", unit="", better="lower"
)
UNIFORMITY = _define(
    "uniformity",
    "uniformity",
    "ln mean exp(−2 d²) over pairs of images: how evenly they cover the sphere.",
    unit="",
    better="lower",
)
GAP = _define(
    "modality_gap",
    "modality gap",
    "Distance of the mean image from the mean text.",
    unit="",
    better="neither",
)


@analysis(
    "prompts",
    [
        *(TOP1, TOP5, MEAN_RECALL, CALIBRATION, BEST, WORST, SPREAD, SHORTENED),
        *IMAGE_RECALL.values(),
        *TEXT_RECALL.values(),
        *(UNREADABLE, ALIGNMENT, UNIFORMITY, GAP),
    ],
    by_request=True,
)
def prompts(subject: Subject) -> Measurement:
    """Recognition by words, over templates and widths; null for models without a text encoder.

    Arrays: `template_accuracy` and `template_lines`, likewise `shortened_*`; `class_recall` and
    `class_lines`; `confusion` `[K, K]`, true by named; `curve_widths`, `curve_truncated` and `curve_pca`, the
    accuracy at narrower widths; `bins`, `[3, 15]`, count, confidence and accuracy; `unreadable_lines`, files.
    Lines are UTF-8 bytes.
    """
    if not isinstance(subject.model, ImageTextModel):
        raise Unmeasurable(NO_TEXT)
    try:
        asked = question(subject.data)
    except DataError as error:
        raise Unmeasurable(str(error)) from None
    embedded = embed(subject, subject.model, asked)
    for vectors in (embedded.image, embedded.texts, embedded.shortened):
        finite(vectors)
    metrics = [
        *_recognition(embedded),
        _calibration(embedded, subject.model),
        *_templates(embedded),
        *_retrieval(embedded),
        UNREADABLE.measured(int((~asked.readable).sum()), n=len(asked.readable)),
        *_geometry(embedded),
    ]
    return Measurement(tuple(metrics), _arrays(embedded, subject))


@dataclass(frozen=True, eq=False)
class Embedded:
    """A question in the model's space: unit vectors of images `[N, D]` and of texts `[templates, K, D]`."""

    asked: Question
    image: Tensor
    texts: Tensor
    shortened: Tensor

    @property
    def truth(self) -> Tensor:
        """The class of each image, −1 for one that could not be read."""
        return self.asked.truth.where(self.asked.readable, -1)

    @property
    def text(self) -> Tensor:
        """The ensemble over templates, `[K, D]`."""
        return ensemble(self.texts)

    @property
    def scores(self) -> Tensor:
        """Cosine of every image with every class's ensemble, `[N, K]`."""
        return self.image @ self.text.T


@torch.inference_mode()
def embed(subject: Subject, model: ImageTextModel, asked: Question) -> Embedded:
    """Encode every image once, and every different text once."""
    rows = asked.texts + asked.shortened
    different = list(dict.fromkeys(text for row in rows for text in row))
    position = {text: index for index, text in enumerate(different)}
    vectors = model.encode_text(different).float().cpu()
    found = [vectors[[position[text] for text in row]] for row in rows]
    count = len(asked.texts)
    image = subject.encode(asked.images).mean
    shortened = torch.stack(found[count:]) if asked.shortened else vectors[:0]
    return Embedded(asked, image, torch.stack(found[:count]), shortened)


def _recognition(embedded: Embedded) -> list[Metric]:
    scores, truth, names = embedded.scores, embedded.truth, embedded.asked.names
    hits = hits_at(scores, truth, 1)
    recall = recall_per_class(hits, embedded.asked.truth, len(names))
    present = recall[recall.isfinite()]
    error = _error_of_mean_recall(present, embedded.asked.truth, recall)
    top5 = (
        TOP5.share(hits_at(scores, truth, TOP))
        if len(names) >= TOP
        else TOP5.missing(f"fewer than {TOP} classes: {len(names)}")
    )
    return [TOP1.share(hits), top5, MEAN_RECALL.measured(present.mean().item(), se=error, n=len(hits))]


def _error_of_mean_recall(present: Tensor, truth: Tensor, recall: Tensor) -> float | None:
    """Of the mean of independent binomial shares; None where every one is 0 or 1."""
    count = truth.bincount(minlength=len(recall)).double()[recall.isfinite()]
    error = float((present * (1 - present) / count).sum().sqrt() / len(present))
    return error or None


def _calibration(embedded: Embedded, model: ImageTextModel) -> Metric:
    probabilities = _probabilities(embedded, model)
    if probabilities is None:
        return CALIBRATION.missing("the model has no temperature: nothing says how sure it is")
    truth = embedded.truth[embedded.asked.readable]
    return CALIBRATION.measured(expected_calibration_error(probabilities, truth), n=len(truth))


def _probabilities(embedded: Embedded, model: ImageTextModel) -> Tensor | None:
    """Of each class, for the readable images, at the model's own temperature; None where it has none."""
    scale = getattr(model, "scale", None)
    if scale is None:
        return None
    readable = embedded.scores[embedded.asked.readable]
    return (readable.double() * torch.as_tensor(scale).detach().cpu()).softmax(1)


def _template_hits(embedded: Embedded) -> list[Tensor]:
    return [hits_at(embedded.image @ text.T, embedded.truth, 1) for text in embedded.texts]


def _shortened_hits(embedded: Embedded) -> list[Tensor]:
    """For each shortened template, the chance of each image to be named rightly, `[N]`."""
    found = []
    for texts, vectors in zip(embedded.asked.shortened, embedded.shortened, strict=True):
        different = list(dict.fromkeys(texts))
        group = torch.tensor([different.index(text) for text in texts])
        scores = embedded.image @ vectors[[texts.index(text) for text in different]].T
        found.append(tied_accuracy(scores, embedded.asked.truth, group))
    return found


def _templates(embedded: Embedded) -> list[Metric]:
    """The best and the worst template, how far they all lie apart, and what leaving something out costs."""
    hits = sorted(_template_hits(embedded), key=lambda hits: int(hits.sum()))
    accuracies = [each.double().mean().item() for each in hits]
    spread = (
        SPREAD.measured(statistics.stdev(accuracies), n=len(hits))
        if len(hits) > 1
        else SPREAD.missing("one template has no spread")
    )
    shortened = _shortened_hits(embedded)
    if not shortened:
        left_out = SHORTENED.missing("no templates that leave something out")
    else:
        mean = torch.stack(shortened).mean(0)
        left_out = SHORTENED.measured(mean.mean().item(), se=standard_error(mean.numpy()), n=len(mean))
    return [BEST.share(hits[-1]), WORST.share(hits[0]), spread, left_out]


def _retrieval(embedded: Embedded) -> list[Metric]:
    """Recall at k from texts to images, and from images to texts."""
    readable = embedded.asked.readable
    scores, truth = embedded.scores[readable], embedded.truth[readable]
    positives = truth.unsqueeze(1) == torch.arange(scores.shape[1])
    directions = ((IMAGE_RECALL, scores.T, positives.T), (TEXT_RECALL, scores, positives))
    metrics = []
    for recalls, queries, own in directions:
        asked = int(own.any(1).sum())
        for k, metric in recalls.items():
            if k > queries.shape[1]:
                metrics.append(metric.missing(f"fewer than {k} to be found: {queries.shape[1]}"))
                continue
            recall = retrieval_recall(queries, own, k=k)
            metrics.append(metric.measured(recall, se=binomial_se(round(recall * asked), asked), n=asked))
    return metrics


def _geometry(embedded: Embedded) -> list[Metric]:
    readable = embedded.asked.readable
    image, text, truth = embedded.image[readable].double(), embedded.text.double(), embedded.truth[readable]
    some = image[:PAIRS]
    spread = (
        UNIFORMITY.measured(uniformity(some).item(), n=len(some))
        if len(some) > 1
        else UNIFORMITY.missing("one image has no pairs")
    )
    return [
        ALIGNMENT.measured(alignment(image, text[truth]).item(), n=len(image)),
        spread,
        GAP.measured(modality_gap(image, text).item(), n=len(image)),
    ]


def _arrays(embedded: Embedded, subject: Subject) -> Arrays:
    asked, scores = embedded.asked, embedded.scores
    hits = hits_at(scores, embedded.truth, 1)
    predicted = scores.argmax(1)[asked.readable]
    size = len(asked.names)
    pairs = asked.truth[asked.readable] * size + predicted
    arrays: Arrays = {
        "template_accuracy": _means(_template_hits(embedded)),
        "template_lines": as_lines(asked.templates),
        "class_recall": recall_per_class(hits, asked.truth, size).numpy(),
        "class_lines": as_lines(asked.names),
        "confusion": pairs.bincount(minlength=size**2).view(size, size).int().numpy(),
        **_width_curve(embedded, subject),
    }
    if asked.shortened:
        arrays["shortened_accuracy"] = _means(_shortened_hits(embedded))
        arrays["shortened_lines"] = as_lines(asked.shortened_templates)
    if isinstance(subject.data, PromptedImageData) and subject.data.unreadable:
        arrays["unreadable_lines"] = as_lines(subject.data.unreadable)
    assert isinstance(subject.model, ImageTextModel)
    probabilities = _probabilities(embedded, subject.model)
    if probabilities is not None:
        table = reliability(probabilities, embedded.truth[asked.readable])
        arrays["bins"] = torch.stack([table.count, table.confidence, table.accuracy]).numpy()
    return arrays


def _width_curve(embedded: Embedded, subject: Subject) -> Arrays:
    """Accuracy of the embedding cut to its first dimensions, as they are and along its principal axes."""
    asked = embedded.asked
    fitted = embedded.image if asked.train is asked.images else subject.encode(asked.train[:AXES_FITTED]).mean
    axes = principal_axes(fitted)
    widths = widths_up_to(embedded.image.shape[1])
    curves = {}
    for name, image, text in (
        ("truncated", embedded.image, embedded.text),
        ("pca", embedded.image @ axes, embedded.text @ axes),
    ):
        shown = [hits_at(cut(image, width) @ cut(text, width).T, embedded.truth, 1) for width in widths]
        curves[f"curve_{name}"] = _means(shown)
    return {"curve_widths": np.array(widths), **curves}


def _means(hits: Sequence[Tensor]) -> NDArray[np.float64]:
    return np.array([each.double().mean().item() for each in hits])


def as_lines(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Texts as the bytes of lines, so that they can lie among arrays.

    >>> from_lines(as_lines(["a {digit}", "größer"]))
    ['a {digit}', 'größer']
    """
    return np.frombuffer("\n".join(texts).encode(), dtype=np.uint8).copy()


def from_lines(lines: NDArray[np.generic]) -> list[str]:
    """The inverse of `as_lines`."""
    return bytes(lines.astype(np.uint8)).decode().split("\n")
