"""The arrays of the prompts analysis, from which figures are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.subject import Subject
from latentbench.analysis.prompts.questions import (
    EmbeddedPrompts,
    class_probabilities,
    fitted_vectors,
    shortened_hits,
    template_hits,
)
from latentbench.analysis.stored.lines import as_lines
from latentbench.analysis.zero_shot.zero_shot_metrics import (
    cut,
    hits_at,
    principal_axes,
    recall_per_class,
    reliability,
    widths_up_to,
)
from latentbench.data.reading.prompted import PromptedImageData
from latentbench.models.protocols import ImageTextModel

AXES_FITTED = 5_000
"""Train images whose embeddings give the principal axes."""

Arrays = dict[str, NDArray[np.generic]]


def arrays_of(embedded: EmbeddedPrompts, subject: Subject) -> Arrays:
    """Return accuracies by template, class and width, the confusion of classes, and calibration bins."""
    asked, scores = embedded.asked, embedded.scores
    hits = hits_at(scores, embedded.truth, 1)
    predicted = embedded.first_of_name[scores.argmax(1)][asked.readable]
    size = len(asked.names)
    pairs = asked.truth[asked.readable] * size + predicted
    arrays: Arrays = {
        "template_accuracy": _means(template_hits(embedded)),
        "template_lines": as_lines(asked.templates),
        "class_recall": recall_per_class(hits, asked.truth, size).numpy(),
        "class_lines": as_lines(asked.names),
        "confusion": pairs.bincount(minlength=size**2).view(size, size).int().numpy(),
        **_width_curve(embedded, subject),
    }
    if asked.shortened:
        arrays["shortened_accuracy"] = _means(shortened_hits(embedded))
        arrays["shortened_lines"] = as_lines(asked.shortened_templates)
    if isinstance(subject.data, PromptedImageData) and not asked.readable.all():
        names = zip(subject.data.originals.names, asked.readable.tolist(), strict=True)
        arrays["unreadable_lines"] = as_lines([name for name, readable in names if not readable])
    assert isinstance(subject.model, ImageTextModel)
    probabilities = class_probabilities(embedded, subject.model)
    if probabilities is not None:
        table = reliability(probabilities, embedded.truth[asked.readable])
        arrays["bins"] = torch.stack([table.count, table.confidence, table.accuracy]).numpy()
    return arrays


def _width_curve(embedded: EmbeddedPrompts, subject: Subject) -> Arrays:
    """Return accuracy with the first dimensions of the embedding, unchanged and along its principal axes."""
    axes = principal_axes(fitted_vectors(subject, embedded, AXES_FITTED))
    widths = widths_up_to(embedded.image.shape[1])
    curves = {}
    for name, image, text in (
        ("truncated", embedded.image, embedded.text),
        ("pca", embedded.image @ axes, embedded.text @ axes),
    ):
        cosines = (embedded.cosines(cut(image, width), cut(text, width)) for width in widths)
        shown = [hits_at(scores, embedded.truth, 1) for scores in cosines]
        curves[f"curve_{name}"] = _means(shown)
    return {"curve_widths": np.array(widths), **curves}


def _means(hits: Sequence[Tensor]) -> NDArray[np.float64]:
    return np.array([each.double().mean().item() for each in hits])
