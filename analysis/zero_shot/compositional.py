"""Compositional zero-shot recognition from the codes of a frozen encoder.

Towers trained by `lit` on the seen captions are tested on images of 18 unseen captions: their words are
known, their combinations are not. So every encoder gets a number, even if it was trained
without text.

Images of one caption tend to be classified alike, so errors are those of the captions (`clustered_se`): 18
unseen ones show how the accuracy would differ with others, 5,000 images of them do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.metric import Metric, define, define_accuracy, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.statistics.intervals import clustered_se
from latentbench.analysis.zero_shot.lit import captions_of, locked_image
from latentbench.data.captioned.draw import CaptionedData
from latentbench.data.captioned.schemes import SCHEMES
from latentbench.models.protocols import ImageTextModel


@dataclass(frozen=True, eq=False)
class CaptionScores:
    """A score for each of the M captions and each image, higher is better, and the correct captions.

    `seen` and `unseen` are float `[N, M]` over the images of seen and of unseen captions, `*_truth` int64
    `[N]`; `held_out` bool `[M]` marks the captions that were not trained on.
    """

    seen: Tensor
    seen_truth: Tensor
    unseen: Tensor
    unseen_truth: Tensor
    held_out: Tensor


def locked_image_scores(subject: Subject, drawn: CaptionedData) -> CaptionScores:
    """Return the scores of the subject's locked-image towers on the test images."""
    locked = subject.once(locked_image)
    seen, unseen = (subject.vectors(part.images) for part in (drawn.test_seen, drawn.test_unseen))
    held_out = torch.zeros(len(drawn.captions), dtype=torch.bool)
    held_out[[*drawn.validation, *drawn.unseen]] = True
    return CaptionScores(
        locked.scores(seen),
        drawn.test_seen.captions,
        locked.scores(unseen),
        drawn.test_unseen.captions,
        held_out,
    )


def harmonic_mean(first: float, second: float) -> float:
    """Compute 2ab / (a + b) of two accuracies, 0 if both are 0: high only if both are."""
    return 2 * first * second / (first + second) if first + second > 0 else 0.0


def seen_unseen_auc(scores: CaptionScores) -> tuple[float, float | None]:
    """Compute the area under the curve of seen against unseen accuracy, by bias for held-out captions.

    Chao et al. 2016 (arXiv:1605.04253): a bias b is added to every held-out caption's score. An unseen
    image is correct for every b above its own threshold, a seen image for every b below its own, so the
    area is the share of (unseen, seen) pairs that some b gets both right. Range [0, 1]. Returns the area
    and its standard error over captions (DeLong et al. 1988, in clusters).
    """
    needed = _bias_needed(scores.unseen, scores.unseen_truth, scores.held_out)
    borne = -_bias_needed(scores.seen, scores.seen_truth, ~scores.held_out)
    both = (needed.unsqueeze(1) < borne).double()
    truths = scores.unseen_truth, scores.seen_truth
    errors = [clustered_se(both.mean(1 - part), truth) for part, truth in enumerate(truths)]
    known = [error for error in errors if error is not None]
    return both.mean().item(), math.hypot(*known) if known else None


def _bias_needed(scores: Tensor, truth: Tensor, group: Tensor) -> Tensor:
    """Return the bias for its `group` of captions above which each image is correct, `[N]`; ∞ if none helps.

    None helps if another caption of the same group has a higher score than the correct one.
    """
    own = scores.gather(1, truth.unsqueeze(1)).squeeze(1)
    best_in_group = scores[:, group].amax(1)
    needed = scores[:, ~group].amax(1) - own
    return torch.where(own >= best_in_group, needed, torch.inf)


VERSION = 2
"""The errors are over captions; in version 1 they counted images, and were 4 to 11 times too small."""
TOP1 = define_accuracy(
    "zero_shot_top1",
    version=VERSION,
    heading="zero-shot",
    title=(
        "Accuracy on captions never trained on, among all 90, of towers on frozen codes; chance 0.011. How "
        "much of an image the code keeps; image–text models saw captions and redrawn images, others did not."
    ),
    headline=True,
)
UNSEEN_ONLY = define_accuracy(
    "zero_shot_unseen_only",
    version=VERSION,
    heading="zs unseen",
    title=(
        "Accuracy on captions never trained on, among those 18 only, of towers on frozen codes; chance 0.056."
    ),
)
SEEN = define_accuracy(
    "zero_shot_seen",
    version=VERSION,
    heading="zs seen",
    title="Accuracy on test images of trained captions, among all 90, of towers on frozen codes.",
)
HARMONIC = define_accuracy(
    "zero_shot_harmonic",
    version=VERSION,
    heading="zs harmonic",
    title="Harmonic mean of the accuracies on unseen and on seen captions.",
)
AUC = define(
    "zero_shot_auc",
    version=VERSION,
    unit="area",
    better="higher",
    title="Area under the curve of seen against unseen accuracy as a bias for held-out captions is varied.",
    heading="zs AUC",
)
FACTORS = {
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
NATIVE = define_accuracy(
    "native_zero_shot_top1",
    version=VERSION,
    heading="native zs",
    title=(
        "Accuracy on captions never trained on, among all 90, by the model's own text encoder; chance 0.011."
    ),
)
LOCKED = (TOP1, UNSEEN_ONLY, SEEN, HARMONIC, AUC, *FACTORS.values())


@analysis("zero_shot", [*LOCKED, NATIVE])
def zero_shot(subject: Subject) -> Measurement:
    """Measure accuracy on captioned images, of towers on frozen codes and of the model's own text encoder.

    Null if the data cannot be redrawn as captioned digits or clothes. The arrays `confusion_FACTOR` are
    counts of unseen images, true value by predicted one.
    """
    drawn = captions_of(subject)
    finite(subject.test_codes.mean)
    scores = locked_image_scores(subject, drawn)
    examples = {TOP1.name: _unseen_hits(scores)}
    if isinstance(subject.model, ImageTextModel):
        examples[NATIVE.name] = _native_hits(subject, subject.model, drawn)
    metrics = (*_locked_metrics(scores, drawn), _native_metric(examples.get(NATIVE.name), drawn))
    return Measurement(
        metrics,
        confusions(scores.unseen.argmax(1), scores.unseen_truth, drawn),
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


def _locked_metrics(scores: CaptionScores, drawn: CaptionedData) -> list[Metric]:
    predicted, truth = scores.unseen.argmax(1), scores.unseen_truth
    top1 = TOP1.share(_unseen_hits(scores), truth)
    unseen = torch.tensor(drawn.unseen)
    unseen_only = UNSEEN_ONLY.share(unseen[scores.unseen[:, unseen].argmax(1)] == truth, truth)
    seen = SEEN.share(scores.seen.argmax(1) == scores.seen_truth, scores.seen_truth)
    area, area_se = seen_unseen_auc(scores)
    n = len(truth) + len(scores.seen_truth)
    return [
        top1,
        unseen_only,
        seen,
        _harmonic_metric(top1, seen),
        AUC.measured(area, se=area_se, n=n, common_se=area_se),
        *_factor_metrics(predicted, truth, drawn),
    ]


def _factor_metrics(predicted: Tensor, truth: Tensor, drawn: CaptionedData) -> list[Metric]:
    """Return the share of images with a correct factor; null for factors that the captions do not name."""
    right = (drawn.factors[predicted] == drawn.factors[truth]).T
    named = {factor.name: column for factor, column in zip(drawn.scheme.factors, right, strict=True)}
    return [
        metric.share(named[name], truth)
        if name in named
        else metric.missing(f"{drawn.scheme.name} name no {name}")
        for name, metric in FACTORS.items()
    ]


def _native_hits(subject: Subject, model: ImageTextModel, drawn: CaptionedData) -> Tensor:
    with torch.inference_mode():
        text = model.encode_text(list(drawn.captions)).float().cpu()
    image = subject.vectors(drawn.test_unseen.images)
    return (image @ text.T).argmax(1) == drawn.test_unseen.captions


def _native_metric(hits: Tensor | None, drawn: CaptionedData) -> Metric:
    if hits is None:
        return NATIVE.missing("no text encoder")
    return NATIVE.share(hits, drawn.test_unseen.captions)


def _harmonic_metric(unseen: Metric, seen: Metric) -> Metric:
    """Return the harmonic mean, its errors propagated from both accuracies to first order."""
    u, s = unseen.value or 0.0, seen.value or 0.0

    def carried(of_unseen: float | None, of_seen: float | None) -> float | None:
        if u + s == 0 or of_unseen is None or of_seen is None:
            return None
        return 2 * math.hypot(s**2 * of_unseen, u**2 * of_seen) / (u + s) ** 2

    return HARMONIC.measured(
        harmonic_mean(u, s),
        se=carried(unseen.se, seen.se),
        n=(unseen.n or 0) + (seen.n or 0),
        common_se=carried(unseen.common_se, seen.common_se),
    )
