"""Bits per embedding: how small an image's vector can be made before classification by words suffers.

The vector of each test image is coded with fewer dimensions, fewer bits per dimension, or by product
quantisation, decoded, and classified as before: by locked-image towers, which every encoder can have, and by
the model's own text encoder where there is one. So CLIP embeddings and the codes of autoencoders
lie on one plane of bits and accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.metric import Metric, Unmeasurable, define, define_accuracy, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.embeddings.vector_codecs import CodedVectors, product_quantisations, truncations
from latentbench.analysis.prompts.own_vectors import OWN_VECTORS
from latentbench.analysis.prompts.questions import embed, fitted_vectors, question
from latentbench.analysis.stored.lines import as_lines
from latentbench.analysis.zero_shot.lit import captions_of, locked_image
from latentbench.analysis.zero_shot.zero_shot_metrics import hits_at
from latentbench.data.errors import DataError
from latentbench.models.protocols import ImageTextModel

FITTED = 10_000
"""The number of train images whose vectors the codecs are fitted to, at most."""
ENOUGH = 0.99
"""The share of the uncoded vectors' accuracy that is enough."""
NEAREST = 10
"""The number of images that a text retrieves."""


BITS_ENOUGH = define(
    "embedding_bits_enough",
    unit="bits",
    better="lower",
    title="Fewest bits per image at which its vector is classified at 99 % of the uncoded accuracy.",
    heading="embedding bits",
    headline=True,
    decimals=0,
)
INT8 = define_accuracy(
    "embedding_int8_top1",
    heading="int8 top-1",
    title="Accuracy of vectors of full width whose dimensions have 8 bits each.",
)
BINARY = define_accuracy(
    "embedding_binary_top1",
    heading="binary top-1",
    title="Accuracy of vectors of full width whose dimensions have 1 bit each.",
)


@dataclass(frozen=True, eq=False)
class Reader:
    """A classifier of vectors: `scores` maps `[N, D]` to `[N, K]`, `truth` int64 `[N]` is −1 for no class."""

    name: str
    train: Tensor
    test: Tensor
    truth: Tensor
    clusters: Tensor | None
    scores: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class RatePoint:
    """The hits of all test images, bool `[N]`, and the precision of retrieval, with vectors of some bits."""

    name: str
    bits: int
    hits: Tensor
    retrieval: float

    @property
    def accuracy(self) -> float:
        """The share of hits."""
        return self.hits.double().mean().item()


@analysis("embedding_bits", [BITS_ENOUGH, INT8, BINARY], opt_in=True, passes=(OWN_VECTORS,))
def embedding_bits(subject: Subject) -> Measurement:
    """Measure accuracy and retrieval over the bits of each image's vector.

    The metrics are those of the towers on frozen codes if the data have captions, else of the model's own
    text encoder. Arrays for each reader, `towers` and `own_text`: `READER_bits`, `READER_accuracy`,
    `READER_retrieval` (the share of a text's ten nearest images that are its own) and `READER_lines`, names.
    """
    readers = list(_readers(subject))
    curves = [list(_curve(reader, subject.seed)) for reader in readers]
    arrays: dict[str, NDArray[np.generic]] = {}
    for reader, curve in zip(readers, curves, strict=True):
        arrays |= {
            f"{reader.name}_bits": np.array([point.bits for point in curve]),
            f"{reader.name}_accuracy": np.array([point.accuracy for point in curve]),
            f"{reader.name}_retrieval": np.array([point.retrieval for point in curve]),
            f"{reader.name}_lines": as_lines([point.name for point in curve]),
        }
    return Measurement(_metrics(readers[0], curves[0]), arrays)


def _metrics(reader: Reader, curve: list[RatePoint]) -> tuple[Metric, ...]:
    width, named = reader.test.shape[1], {point.name: point for point in curve}
    whole = named[f"{width} × float32"]
    enough = min(point.bits for point in curve if point.accuracy >= ENOUGH * whole.accuracy)
    return (
        BITS_ENOUGH.measured(enough, n=len(whole.hits)),
        INT8.share(named[f"{width} × int8"].hits, reader.clusters),
        BINARY.share(named[f"{width} × binary"].hits, reader.clusters),
    )


def _curve(reader: Reader, seed: int) -> Iterator[RatePoint]:
    for coded in _codings(reader, seed):
        scores = reader.scores(coded.vectors)
        yield RatePoint(
            coded.name,
            coded.bits,
            hits_at(scores, reader.truth, 1),
            retrieval_precision(scores, reader.truth, nearest=NEAREST),
        )


def _codings(reader: Reader, seed: int) -> Iterator[CodedVectors]:
    yield from truncations(reader.train, reader.test)
    yield from product_quantisations(reader.train, reader.test, seed=seed)


def retrieval_precision(scores: Tensor, truth: Tensor, *, nearest: int) -> float:
    """Compute the share of each class's `nearest` images that are of that class, mean over classes.

    `scores` `[N, K]` are higher for a better match, `truth` int64 `[N]`. Classes with fewer images retrieve
    as many as they have; classes without any are left out.
    """
    order = scores.sort(dim=0, descending=True, stable=True).indices
    found = truth[order[:nearest]] == torch.arange(scores.shape[1])
    count = truth[truth >= 0].bincount(minlength=scores.shape[1]).clamp(max=nearest)
    asked = count > 0
    within = torch.arange(len(found)).unsqueeze(1) < count
    return ((found & within).sum(0)[asked] / count[asked]).mean().item()


def _readers(subject: Subject) -> Iterator[Reader]:
    """Yield the towers on frozen codes and the model's own text encoder; at least one of them.

    Raises Unmeasurable if there is neither.
    """
    reasons = []
    for reader in (_towers, _own_text):
        try:
            yield reader(subject)
        except Unmeasurable as reason:
            reasons.append(str(reason))
    if len(reasons) == 2:
        raise Unmeasurable("; ".join(reasons))


def _towers(subject: Subject) -> Reader:
    drawn = captions_of(subject)
    locked = subject.once(locked_image)
    test = finite(subject.vectors(drawn.test_unseen.images))
    truth = drawn.test_unseen.captions
    return Reader("towers", finite(locked.train_codes[:FITTED]), test, truth, truth, locked.scores)


def _own_text(subject: Subject) -> Reader:
    if not isinstance(subject.model, ImageTextModel):
        raise Unmeasurable("no text encoder")
    try:
        asked = question(subject.data)
    except DataError as error:
        raise Unmeasurable(str(error)) from None
    embedded = embed(subject, subject.model, asked)
    finite(embedded.image)
    text = finite(embedded.text)
    train = finite(fitted_vectors(subject, embedded, FITTED))
    return Reader(
        "own_text",
        train[:FITTED],
        embedded.image,
        embedded.truth,
        asked.clusters,
        lambda vectors: embedded.cosines(F.normalize(vectors, dim=1), text),
    )
