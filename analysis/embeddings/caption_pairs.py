"""Captions against negatives from files, by a model's own text encoder, one accuracy for each kind of change.

Two controls stand next to each accuracy: the captions' scores with the mean of all images instead of one
(blind), and with the image of another pair (shuffled). Where they are above ½, the question can be answered
without looking, as Hsieh et al. 2023 (arXiv:2306.14610) found of many sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define_accuracy, finite
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.prompts.native_zero_shot import NO_TEXT
from latentbench.analysis.prompts.own_vectors import own_vectors
from latentbench.analysis.prompts.text_vectors import text_vectors
from latentbench.data.reading.image_source import CaptionPairs
from latentbench.data.reading.prompted import PairedImageData
from latentbench.models.protocols import ImageTextModel

VERSION = 2
"""Raised when originals began to be opened as CLIP_benchmark opens them."""

OF_KIND = define_accuracy(
    "pair_accuracy",
    version=VERSION,
    heading="pairs",
    title="Share of pairs from a file whose caption scores above its negative, by the model's own text "
    "encoder; a pair with an unreadable image is a miss; chance ½.",
    headline=True,
    per="pairs",
)
BLIND = define_accuracy(
    "pair_accuracy_blind",
    version=VERSION,
    heading="pairs blind",
    title="Share of pairs from a file whose caption scores above its negative with the mean of all images.",
    better="neither",
    per="pairs",
)
SHUFFLED = define_accuracy(
    "pair_accuracy_shuffled",
    version=VERSION,
    heading="pairs shuffled",
    title="Share of pairs from a file whose caption scores above its negative with another pair's image.",
    better="neither",
    per="pairs",
)
OF_FILES = (OF_KIND, BLIND, SHUFFLED)


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Pairs of one kind: the number of each image, whether it is readable, and unit vectors `[P, D]`."""

    kind: str
    number: Tensor
    readable: Tensor
    image: Tensor
    right: Tensor
    wrong: Tensor

    def __len__(self) -> int:
        return len(self.number)

    def wins(self, image: Tensor) -> Tensor:
        """Return how each pair ends with other image vectors, `[P, D]` or `[D]`; see `won`."""
        return won((image * self.right).sum(1), (image * self.wrong).sum(1))


def won(right: Tensor, wrong: Tensor) -> Tensor:
    """Return 1 where the right caption scores above the wrong one, ½ for a tie: float64 `[P]`."""
    return (right > wrong).double() + 0.5 * (right == wrong).double()


@dataclass(frozen=True, eq=False)
class FileResults:
    """The metrics of every file, and over all pairs whether they are won and the number of their image."""

    metrics: tuple[Metric, ...]
    examples: dict[str, Tensor]
    clusters: dict[str, Tensor]
    won: Tensor
    image: Tensor


def of_files(subject: Subject, data: PairedImageData, draws: Generator) -> FileResults:
    """Measure the pairs of every file. Raises Unmeasurable for a model without a text encoder."""
    metrics: list[Metric] = []
    examples, clusters = {}, {}
    blind, scored = _scored(subject, data)
    hits = {each.kind: each.wins(each.image) * each.readable for each in scored}
    for each in scored:
        metrics += _of_file(each, hits[each.kind], blind, draws)
        if len(each):
            name = OF_KIND.labelled(each.kind).name
            examples[name], clusters[name] = hits[each.kind], each.number
    every, image = torch.cat(list(hits.values())), torch.cat([each.number for each in scored])
    return FileResults(tuple(metrics), examples, clusters, every, image)


def _scored(subject: Subject, data: PairedImageData) -> tuple[Tensor, list[ScoredPairs]]:
    """Return the mean vector of the readable images, and the pairs of each file."""
    model = subject.model
    if not isinstance(model, ImageTextModel):
        raise Unmeasurable(NO_TEXT)
    captions = data.captions
    texts = finite(text_vectors(model, captions, subject.context.device))
    images = subject.once(own_vectors)
    vectors, readable = finite(images.vectors), images.readable
    place = {text: index for index, text in enumerate(captions)}
    number = {name: index for index, name in enumerate(data.originals.names)}
    return vectors[readable].mean(0), [
        _scored_file(each, place, number, texts, vectors, readable) for each in data.pairs
    ]


def _scored_file(
    pairs: CaptionPairs,
    place: dict[str, int],
    number: dict[str, int],
    texts: Tensor,
    images: Tensor,
    readable: Tensor,
) -> ScoredPairs:
    chosen = torch.tensor([number[name] for name in pairs.images], dtype=torch.int64)
    right, wrong = (
        texts[torch.tensor([place[text] for text in each], dtype=torch.int64)]
        for each in (pairs.captions, pairs.negatives)
    )
    return ScoredPairs(pairs.kind, chosen, readable[chosen], images[chosen], right, wrong)


def _of_file(pairs: ScoredPairs, hits: Tensor, blind: Tensor, draws: Generator) -> Iterator[Metric]:
    """Yield the accuracy and its two controls, whose errors count images."""
    accuracy, without, shuffled = (metric.labelled(pairs.kind) for metric in OF_FILES)
    yield _mean(accuracy, hits, pairs.number)
    yield _mean(without, pairs.wins(blind), pairs.number)
    order = torch.randperm(len(pairs), generator=draws)
    order = order[pairs.readable[order]]
    # Each pair gets the image of the next one in a random circle, so that none keeps its own.
    following = order.roll(-1)
    image = pairs.image.clone()
    image[order] = pairs.image[following]
    other = pairs.number[order] != pairs.number[following]
    kept = order[other].sort().values
    yield _mean(shuffled, pairs.wins(image)[kept], pairs.number[kept], "the pairs have one image")


def _mean(metric: MetricDefinition, values: Tensor, image: Tensor, none: str = "no pairs") -> Metric:
    return metric.mean(values, image) if len(values) else metric.missing(none, n=0)
