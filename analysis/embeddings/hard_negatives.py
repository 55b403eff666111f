"""Hard negatives: can a model tell a caption from one in which a single word is wrong?

Two images of unseen captions that differ in a factor, such as the stroke, make a pair: the negative caption
of each is its own with the other's value of that factor. So over all pairs the words of captions and
negatives are the same, and nothing but the image can tell which is right. Two controls show this: the
captions' scores without any image (blind), and with the image of another pair (shuffled). After SugarCrepe
(Hsieh et al. 2023, arXiv:2306.14610), which found that many older sets can be solved without the image.

Pairs from files in the format of SugarCrepe are measured in `caption_pairs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentbench.analysis.core.metric import Metric, define_accuracy, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.embeddings.caption_pairs import OF_FILES, of_files, won
from latentbench.analysis.prompts.own_vectors import OWN_VECTORS
from latentbench.analysis.zero_shot.compositional import native_scores
from latentbench.analysis.zero_shot.lit import captions_of, locked_image
from latentbench.data.captioned.draw import CaptionedData
from latentbench.data.captioned.schemes import SCHEMES
from latentbench.data.reading.prompted import PairedImageData
from latentbench.models.protocols import ImageTextModel

OVERALL = define_accuracy(
    "hard_negatives",
    heading="hard neg.",
    title="Share of images whose caption scores above one with a wrong word, by towers on codes; chance ½.",
    headline=True,
)
FACTORS = {
    factor.name: define_accuracy(
        f"hard_negatives_{factor.name}",
        heading=f"hard {factor.name}",
        title=f"Share of images whose caption scores above one with a wrong {factor.name}; chance ½.",
    )
    for scheme in SCHEMES
    for factor in scheme.factors
}
BLIND = define_accuracy(
    "hard_negatives_blind",
    heading="hard blind",
    title="Share of captions that score above their negative without the image: mean over all images.",
    better="neither",
)
SHUFFLED = define_accuracy(
    "hard_negatives_shuffled",
    heading="hard shuffled",
    title="Share of captions that score above their negative with the image of another pair.",
    better="neither",
)
NATIVE = define_accuracy(
    "native_hard_negatives",
    heading="native hard neg.",
    title="Share of images whose caption scores above one with a wrong word, by the model's own text "
    "encoder; chance ½.",
)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images by index, `[P]`, the caption of each, and the caption in which one factor is wrong."""

    factor: str
    image: Tensor
    right: Tensor
    wrong: Tensor


def pair_up(drawn: CaptionedData, draws: Generator) -> list[Pairs]:
    """Pair images of unseen captions at random, once for each factor; those of equal value are left out."""
    captions = drawn.test_unseen.captions
    cells = torch.tensor(drawn.scheme.cells)
    ids = {cell: index for index, cell in enumerate(drawn.scheme.cells)}
    found = []
    for place, factor in enumerate(drawn.scheme.factors):
        order = torch.randperm(len(captions), generator=draws)
        half = len(order) // 2
        first, second = order[:half], order[half : 2 * half]
        differ = cells[captions[first], place] != cells[captions[second], place]
        first, second = first[differ], second[differ]
        image, partner = torch.cat([first, second]), torch.cat([second, first])
        wrong = cells[captions[image]].clone()
        wrong[:, place] = cells[captions[partner], place]
        negatives = torch.tensor([ids[(a, b, c)] for a, b, c in wrong.tolist()], dtype=torch.int64)
        found.append(Pairs(factor.name, image, captions[image], negatives))
    return found


def wins(scores: Tensor, pairs: Pairs, image: Tensor) -> Tensor:
    """Return how each pair ends, as `won` does.

    `scores` `[N, M]` are of N images for M captions, `image` int64 `[P]` the image of each pair.
    """
    return won(scores[image, pairs.right], scores[image, pairs.wrong])


BY_TOWERS = (OVERALL, *FACTORS.values(), BLIND, SHUFFLED)


@analysis("hard_negatives", [*BY_TOWERS, NATIVE, *OF_FILES], opt_in=True, passes=(OWN_VECTORS,))
def hard_negatives(subject: Subject) -> Measurement:
    """Measure the choice between a caption and one with a wrong word; null for data without captions."""
    if isinstance(subject.data, PairedImageData):
        return _from_files(subject, subject.data)
    drawn = captions_of(subject)
    images = finite(subject.vectors(drawn.test_unseen.images))
    scores = subject.once(locked_image).scores(images)
    draws = subject.generator("hard negatives")
    pairs = pair_up(drawn, draws)
    return Measurement((*_metrics(scores, pairs, draws), _native(subject, drawn, images, pairs)))


def _from_files(subject: Subject, data: PairedImageData) -> Measurement:
    found = of_files(subject, data, subject.generator("hard negatives"))
    towers = (
        metric.missing("pairs from files: no towers are trained on their captions") for metric in BY_TOWERS
    )
    return Measurement(
        (*towers, NATIVE.mean(found.won, found.image), *found.metrics),
        examples={name: values.numpy() for name, values in found.examples.items()},
        clusters={name: values.numpy() for name, values in found.clusters.items()},
    )


def _metrics(scores: Tensor, pairs: list[Pairs], draws: Generator) -> Iterator[Metric]:
    right = {each.factor: wins(scores, each, each.image) for each in pairs}
    own = torch.cat([each.right for each in pairs])
    yield OVERALL.mean(torch.cat(list(right.values())), own)
    for name, metric in FACTORS.items():
        each = next((each for each in pairs if each.factor == name), None)
        yield (
            metric.missing(f"the captions name no {name}")
            if each is None
            else metric.mean(right[name], each.right)
        )
    blind = scores.mean(0, keepdim=True)
    yield BLIND.mean(torch.cat([wins(blind, each, torch.zeros_like(each.image)) for each in pairs]), own)
    yield SHUFFLED.mean(
        torch.cat(
            [
                wins(scores, each, each.image[torch.randperm(len(each.image), generator=draws)])
                for each in pairs
            ]
        ),
        own,
    )


def _native(subject: Subject, drawn: CaptionedData, images: Tensor, pairs: list[Pairs]) -> Metric:
    if not isinstance(subject.model, ImageTextModel):
        return NATIVE.missing("no text encoder")
    scores = native_scores(subject.model, images, drawn)
    right = torch.cat([wins(scores, each, each.image) for each in pairs])
    return NATIVE.mean(right, torch.cat([each.right for each in pairs]))
