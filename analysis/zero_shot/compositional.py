"""Compositional zero-shot recognition from the codes of a frozen encoder.

Towers trained by `lit` on the seen captions are tested on images of 18 unseen captions: their words are
known, their combinations are not. So every encoder gets a number, even if it was trained
without text.

Images of one caption tend to be classified alike, so errors are those of the captions (`clustered_se`): 18
unseen ones show how the accuracy would differ with others, 5,000 images of them do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.metric import Metric, MetricDefinition, define, define_accuracy, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.latent.probes import IS_GRID, IS_VECTOR, POOLED, WITH_COMPONENTS
from latentbench.analysis.zero_shot.lit import LockedImage, captions_of, locked_components, locked_image
from latentbench.analysis.zero_shot.zero_shot_metrics import CaptionScores, harmonic_mean, seen_unseen_auc
from latentbench.data.captioned.draw import CaptionedData
from latentbench.data.captioned.schemes import SCHEMES
from latentbench.models.protocols import ImageTextModel


def locked_image_scores(
    subject: Subject, drawn: CaptionedData, tune: Callable[[Subject], LockedImage] = locked_image
) -> CaptionScores:
    """Return the scores on the test images of the towers that `tune` trains on the subject's codes."""
    locked = subject.once(tune)
    seen, unseen = (
        subject.vectors(part.images, locked.vectors) for part in (drawn.test_seen, drawn.test_unseen)
    )
    held_out = torch.zeros(len(drawn.captions), dtype=torch.bool)
    held_out[[*drawn.validation, *drawn.unseen]] = True
    return CaptionScores(
        locked.scores(seen),
        drawn.test_seen.captions,
        locked.scores(unseen),
        drawn.test_unseen.captions,
        held_out,
    )


VERSION = 2
"""The errors are over captions; in version 1 they counted images, and were 4 to 11 times too small."""


@dataclass(frozen=True)
class Accuracies:
    """The metrics of the towers on one kind of vectors; `tune` trains the towers."""

    top1: MetricDefinition
    unseen_only: MetricDefinition
    seen: MetricDefinition
    harmonic: MetricDefinition
    auc: MetricDefinition
    factors: dict[str, MetricDefinition]
    tune: Callable[[Subject], LockedImage]

    @property
    def all(self) -> list[MetricDefinition]:
        """All of them, in the order of tables."""
        return [self.top1, self.unseen_only, self.seen, self.harmonic, self.auc, *self.factors.values()]


def _define(
    suffix: str, of: str, tune: Callable[[Subject], LockedImage], *, headline: bool = False
) -> Accuracies:
    """Define the metrics of towers on vectors called `of`, which are the codes where `suffix` is empty."""
    more, end = (f" {suffix}", f"_{suffix}") if suffix else ("", "")
    towers = f", of towers on {of}" if suffix else ""

    def accuracy(name: str, heading: str, title: str, *, headline: bool = False) -> MetricDefinition:
        return define_accuracy(
            f"zero_shot_{name}{end}",
            version=VERSION,
            heading=heading + more,
            title=title,
            headline=headline,
        )

    return Accuracies(
        top1=accuracy(
            "top1",
            "zero-shot",
            f"Accuracy of towers on {of}, for captions that were never trained on, among all 90; chance "
            "0.011. It shows how much of an image the code keeps. Image–text models were trained on captions "
            "and redrawn images, others were not.",
            headline=headline,
        ),
        unseen_only=accuracy(
            "unseen_only",
            "zs unseen",
            f"Accuracy of towers on {of}, for the 18 captions never trained on, among these; chance 0.056.",
        ),
        seen=accuracy(
            "seen",
            "zs seen",
            f"Accuracy on test images of trained captions, among all 90, of towers on {of}.",
        ),
        harmonic=accuracy(
            "harmonic",
            "zs harmonic",
            f"Harmonic mean of the accuracies on unseen and on seen captions{towers}.",
        ),
        auc=define(
            f"zero_shot_auc{end}",
            version=VERSION,
            unit="area",
            better="higher",
            title="Area under the curve of seen against unseen accuracy as a bias for held-out captions is "
            f"varied{towers}.",
            heading=f"zs AUC{more}",
        ),
        factors={} if suffix else _of_factors(),
        tune=tune,
    )


def _of_factors() -> dict[str, MetricDefinition]:
    return {
        factor.name: define_accuracy(
            f"zero_shot_{factor.name}",
            version=VERSION,
            heading=f"zs {factor.name}",
            title=(
                f"Share of unseen images whose {factor.name} is named "
                f"correctly; chance {1 / len(factor.words):.3g}."
            ),
        )
        for scheme in SCHEMES
        for factor in scheme.factors
    }


OF_VECTORS = _define("", "frozen codes", locked_image, headline=True)
OF_GRIDS = (
    _define("pooled", f"{POOLED}, frozen", locked_image),
    _define("pca256", f"{WITH_COMPONENTS}, frozen", locked_components),
)
NATIVE = define_accuracy(
    "native_zero_shot_top1",
    version=VERSION,
    heading="native zs",
    title=(
        "Accuracy of the model's own text encoder, for captions that were never trained on, among all 90; "
        "chance 0.011."
    ),
)
LOCKED = (OF_VECTORS, *OF_GRIDS)


@analysis("zero_shot", [*(metric for each in LOCKED for metric in each.all), NATIVE])
def zero_shot(subject: Subject) -> Measurement:
    """Measure accuracy on captioned images, of towers on frozen codes and of the model's own text encoder.

    Null if the data cannot be redrawn as captioned digits or clothes. The arrays `confusion_FACTOR` are
    counts of unseen images, true value by predicted one.
    """
    drawn = captions_of(subject)
    finite(subject.test_codes.mean)
    is_vector = len(subject.code_shape) == 1
    metrics: list[Metric] = []
    scores: list[CaptionScores] = []
    examples: dict[str, Tensor] = {}
    for accuracies in LOCKED:
        if (accuracies is OF_VECTORS) != is_vector:
            reason = IS_VECTOR if is_vector else IS_GRID
            metrics += [metric.missing(reason) for metric in accuracies.all]
            continue
        scores.append(locked_image_scores(subject, drawn, accuracies.tune))
        metrics += _locked_metrics(accuracies, scores[-1], drawn)
        examples[accuracies.top1.name] = _unseen_hits(scores[-1])
    if isinstance(subject.model, ImageTextModel):
        examples[NATIVE.name] = _native_hits(subject, subject.model, drawn)
    metrics.append(_native_metric(examples.get(NATIVE.name), drawn))
    return Measurement(
        tuple(metrics),
        confusions(scores[0].unseen.argmax(1), scores[0].unseen_truth, drawn),
        {name: hits.numpy() for name, hits in examples.items()},
        dict.fromkeys(examples, drawn.test_unseen.captions.numpy()),
    )


def _unseen_hits(scores: CaptionScores) -> Tensor:
    """Find the images of unseen captions whose own caption is the best of all; bool `[N]`."""
    return scores.unseen.argmax(1) == scores.unseen_truth


def confusions(predicted: Tensor, truth: Tensor, drawn: CaptionedData) -> dict[str, NDArray[np.int64]]:
    """Count each true value of a factor by its predicted value, of captions int64 `[N]` each."""
    tables = {}
    for place, factor in enumerate(drawn.scheme.factors):
        values, size = drawn.factors[:, place], len(factor.words)
        pairs = values[truth] * size + values[predicted]
        counts = torch.bincount(pairs, minlength=size**2).view(size, size)
        tables[f"confusion_{factor.name}"] = counts.numpy()
    return tables


def _locked_metrics(accuracies: Accuracies, scores: CaptionScores, drawn: CaptionedData) -> list[Metric]:
    predicted, truth = scores.unseen.argmax(1), scores.unseen_truth
    top1 = accuracies.top1.share(_unseen_hits(scores), truth)
    unseen = torch.tensor(drawn.unseen)
    among_unseen = unseen[scores.unseen[:, unseen].argmax(1)] == truth
    seen = accuracies.seen.share(scores.seen.argmax(1) == scores.seen_truth, scores.seen_truth)
    area, area_se = seen_unseen_auc(scores)
    n = len(truth) + len(scores.seen_truth)
    return [
        top1,
        accuracies.unseen_only.share(among_unseen, truth),
        seen,
        _harmonic_metric(accuracies.harmonic, top1, seen),
        accuracies.auc.measured(area, se=area_se, n=n, common_se=area_se),
        *_factor_metrics(accuracies.factors, predicted, truth, drawn),
    ]


def _factor_metrics(
    factors: dict[str, MetricDefinition], predicted: Tensor, truth: Tensor, drawn: CaptionedData
) -> list[Metric]:
    """Return the share of images with a correct factor; null for factors that the captions do not name."""
    right = (drawn.factors[predicted] == drawn.factors[truth]).T
    named = {factor.name: column for factor, column in zip(drawn.scheme.factors, right, strict=True)}
    return [
        metric.share(named[name], truth)
        if name in named
        else metric.missing(f"{drawn.scheme.name} name no {name}")
        for name, metric in factors.items()
    ]


@torch.inference_mode()
def native_scores(model: ImageTextModel, images: Tensor, drawn: CaptionedData) -> Tensor:
    """Compare unit vectors of images `[N, D]` with the model's own of all M captions: cosines `[N, M]`."""
    return images @ model.encode_text(list(drawn.captions)).float().cpu().T


def _native_hits(subject: Subject, model: ImageTextModel, drawn: CaptionedData) -> Tensor:
    images = subject.vectors(drawn.test_unseen.images)
    return native_scores(model, images, drawn).argmax(1) == drawn.test_unseen.captions


def _native_metric(hits: Tensor | None, drawn: CaptionedData) -> Metric:
    if hits is None:
        return NATIVE.missing("no text encoder")
    return NATIVE.share(hits, drawn.test_unseen.captions)


def _harmonic_metric(metric: MetricDefinition, unseen: Metric, seen: Metric) -> Metric:
    """Return the harmonic mean, its errors propagated from both accuracies to first order."""
    u, s = unseen.value or 0.0, seen.value or 0.0

    def carried(of_unseen: float | None, of_seen: float | None) -> float | None:
        if u + s == 0 or of_unseen is None or of_seen is None:
            return None
        return 2 * math.hypot(s**2 * of_unseen, u**2 * of_seen) / (u + s) ** 2

    return metric.measured(
        harmonic_mean(u, s),
        se=carried(unseen.se, seen.se),
        n=(unseen.n or 0) + (seen.n or 0),
        common_se=carried(unseen.common_se, seen.common_se),
    )
