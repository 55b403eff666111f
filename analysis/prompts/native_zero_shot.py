"""Zero-shot recognition by a model's own text encoder, and its dependence on the wording of the prompts.

If a description leaves a factor out, no image encoder can do better than guess that factor: the
bottleneck is then the description. The `shortened` templates measure this loss.
"""

from __future__ import annotations

import statistics

import torch
from torch import Tensor

from latentbench.analysis.core.metric import (
    Metric,
    Unmeasurable,
    define_accuracy,
    finite,
)
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.prompts.own_vectors import OWN_VECTORS
from latentbench.analysis.prompts.prompt_arrays import arrays_of
from latentbench.analysis.prompts.questions import (
    EmbeddedPrompts,
    Question,
    class_probabilities,
    embed,
    question,
    shortened_hits,
    template_hits,
)
from latentbench.analysis.statistics.intervals import standard_error
from latentbench.analysis.zero_shot.compositional import VERSION
from latentbench.analysis.zero_shot.zero_shot_metrics import (
    expected_calibration_error,
    hits_at,
    recall_per_class,
    retrieved,
)
from latentbench.data.errors import DataError
from latentbench.models.families.image_text.contrastive import alignment, modality_gap, uniformity
from latentbench.models.protocols import ImageTextModel

NO_TEXT = "no text encoder"
TOP = 5
RECALLS = (1, 5, 10)
PAIRS = 2_000
"""The number of images whose pairs are used for uniformity."""


TOP1 = define_accuracy(
    "prompt_top1",
    version=VERSION,
    heading="prompts top-1",
    title="Accuracy by the model's own text encoder, templates averaged; an unreadable image is a miss.",
    headline=True,
)
TOP1_BY_NAME = define_accuracy(
    "prompt_top1_by_name",
    version=VERSION,
    heading="prompts top-1 by name",
    title=("Top-1 accuracy with templates averaged, where classes of one name count as one class."),
)
TOP5 = define_accuracy(
    "prompt_top5",
    version=VERSION,
    heading="prompts top-5",
    title="Top-5 accuracy by the model's own text encoder, templates averaged.",
)
MEAN_RECALL = define_accuracy(
    "prompt_mean_recall",
    version=VERSION,
    heading="prompts recall",
    title="Mean over classes of the accuracy by the model's own text encoder, templates averaged.",
)
CALIBRATION = define_accuracy(
    "prompt_calibration_error",
    heading="prompts ECE",
    title=(
        "Calibration error: mean distance of confidence and accuracy in 15 bins, at the model's temperature."
    ),
    unit="fraction",
    better="lower",
)
BEST = define_accuracy(
    "prompt_best",
    version=VERSION,
    heading="best prompt",
    title="Accuracy by the model's own text encoder with the best single template.",
)
WORST = define_accuracy(
    "prompt_worst",
    version=VERSION,
    heading="worst prompt",
    title="Accuracy by the model's own text encoder with the worst single template.",
)
SPREAD = define_accuracy(
    "prompt_spread",
    heading="prompt spread",
    title="Standard deviation over templates of their accuracies.",
    better="neither",
)
SHORTENED = define_accuracy(
    "prompt_shortened",
    version=VERSION,
    heading="shortened",
    title=(
        "Accuracy with descriptions that leave a factor out, which is then guessed, mean over descriptions."
    ),
)
IMAGE_RECALL = {
    k: define_accuracy(
        f"image_retrieval_recall_{k}",
        heading=f"text→image R@{k}",
        title=f"Share of texts with one of their images among the {k} nearest.",
    )
    for k in RECALLS
}
TEXT_RECALL = {
    k: define_accuracy(
        f"text_retrieval_recall_{k}",
        version=VERSION,
        heading=f"image→text R@{k}",
        title=f"Share of readable images with their text among the {k} nearest.",
    )
    for k in RECALLS
}
UNREADABLE = define_accuracy(
    "unreadable_images",
    heading="unreadable",
    title="Number of files that could not be read as images; they count as misses.",
    unit="count",
    better="lower",
    decimals=0,
)
ALIGNMENT = define_accuracy(
    "alignment",
    heading="alignment",
    title="Mean squared distance between an image and its text on the unit sphere.",
    unit="",
    better="lower",
)
UNIFORMITY = define_accuracy(
    "uniformity",
    heading="uniformity",
    title="Uniformity ln mean exp(−2 d²) over pairs of images on the unit sphere; lower is more even.",
    unit="",
    better="lower",
)
GAP = define_accuracy(
    "modality_gap",
    heading="modality gap",
    title="Distance between the mean image and the mean text.",
    unit="",
    better="neither",
)


@analysis(
    "prompts",
    [
        *(TOP1, TOP1_BY_NAME, TOP5, MEAN_RECALL, CALIBRATION, BEST, WORST, SPREAD, SHORTENED),
        *IMAGE_RECALL.values(),
        *TEXT_RECALL.values(),
        *(UNREADABLE, ALIGNMENT, UNIFORMITY, GAP),
    ],
    opt_in=True,
    passes=(OWN_VECTORS,),
)
def prompts(subject: Subject) -> Measurement:
    """Measure recognition by words, over templates and widths; null for models without a text encoder.

    Arrays: `template_accuracy` and `template_lines`, likewise `shortened_*`; `class_recall` and
    `class_lines`; `confusion` `[K, K]`, true by predicted; `curve_widths`, `curve_truncated` and `curve_pca`,
    the accuracy at narrower widths; `bins`, `[3, 15]`, count, confidence and accuracy; `unreadable_lines`,
    files. Lines are UTF-8 bytes.
    """
    if not isinstance(subject.model, ImageTextModel):
        raise Unmeasurable(NO_TEXT)
    try:
        asked = question(subject.data)
    except DataError as error:
        raise Unmeasurable(str(error)) from None
    embedded = embed(subject, subject.model, asked)
    asked = embedded.asked
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
    hits = hits_at(embedded.scores, embedded.truth, 1)
    return Measurement(
        tuple(metrics),
        arrays_of(embedded, subject),
        {TOP1.name: hits.numpy()},
        {} if asked.clusters is None else {TOP1.name: asked.clusters.numpy()},
    )


def _recognition(embedded: EmbeddedPrompts) -> list[Metric]:
    scores, truth, names = embedded.scores, embedded.truth, embedded.asked.names
    hits = hits_at(scores, truth, 1)
    recall = recall_per_class(hits, embedded.asked.truth, len(names))
    clusters = embedded.asked.clusters
    top5 = (
        TOP5.share(hits_at(scores, truth, TOP), clusters)
        if len(names) >= TOP
        else TOP5.missing(f"fewer than {TOP} classes: {len(names)}")
    )
    first = embedded.first_of_name
    by_name = (first[scores.argmax(1)] == first[truth.clamp(min=0)]) & (truth >= 0)
    top1_by_name = (
        TOP1_BY_NAME.share(by_name, clusters)
        if len(first.unique()) < len(names)
        else TOP1_BY_NAME.missing("all class names differ: prompts top-1 is the same")
    )
    return [TOP1.share(hits, clusters), top1_by_name, top5, _mean_recall(recall, embedded.asked)]


def _mean_recall(recall: Tensor, asked: Question) -> Metric:
    """Return the mean of the classes' shares, `[K]`. Captions are a sample themselves, classes are not."""
    present, n = recall[recall.isfinite()], len(asked.truth)
    if asked.by_captions:
        error = standard_error(present)
    else:
        count = asked.truth.bincount(minlength=len(recall)).double()[recall.isfinite()]
        # None if every share is 0 or 1: an error of 0 would claim certainty.
        error = float((present * (1 - present) / count).sum().sqrt() / len(present)) or None
    return MEAN_RECALL.measured(present.mean().item(), se=error, n=n, common_se=error)


def _calibration(embedded: EmbeddedPrompts, model: ImageTextModel) -> Metric:
    probabilities = class_probabilities(embedded, model)
    if probabilities is None:
        return CALIBRATION.missing("the model has no temperature, so its confidence is unknown")
    truth = embedded.truth[embedded.asked.readable]
    return CALIBRATION.measured(expected_calibration_error(probabilities, truth), n=len(truth))


def _templates(embedded: EmbeddedPrompts) -> list[Metric]:
    """Return the best and worst template, their spread, and the accuracy of shortened descriptions."""
    clusters = embedded.asked.clusters
    hits = sorted(template_hits(embedded), key=lambda hits: int(hits.sum()))
    accuracies = [each.double().mean().item() for each in hits]
    spread = (
        SPREAD.measured(statistics.stdev(accuracies), n=len(hits))
        if len(hits) > 1
        else SPREAD.missing("one template has no spread")
    )
    shortened = shortened_hits(embedded)
    if not shortened:
        left_out = SHORTENED.missing("no templates that leave something out")
    else:
        mean = torch.stack(shortened).mean(0)
        left_out = SHORTENED.mean(mean, clusters)
    return [BEST.share(hits[-1], clusters), WORST.share(hits[0], clusters), spread, left_out]


def _retrieval(embedded: EmbeddedPrompts) -> list[Metric]:
    """Return recall at k from texts to images, and from images to texts."""
    readable = embedded.asked.readable
    scores, truth = embedded.scores[readable], embedded.truth[readable]
    positives = truth.unsqueeze(1) == torch.arange(scores.shape[1])
    directions = ((IMAGE_RECALL, scores.T, positives.T), (TEXT_RECALL, scores, positives))
    metrics = []
    for recalls, queries, own in directions:
        asked = own.any(1)
        clustered = embedded.asked.by_captions and recalls is TEXT_RECALL
        for k, metric in recalls.items():
            if k > queries.shape[1]:
                metrics.append(metric.missing(f"fewer than {k} candidates: {queries.shape[1]}"))
                continue
            hits = retrieved(queries, own, k=k)[asked]
            metrics.append(metric.share(hits, truth if clustered else None))
    return metrics


def _geometry(embedded: EmbeddedPrompts) -> list[Metric]:
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
