"""The vectors of the test images in a model's own space: one pass, which several workers can share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

import joblib
import torch
from torch import Tensor

from latentbench.analysis.core.data_context import batch_size, in_batches, shard_of, to_float
from latentbench.analysis.core.registry import Analysis, SharedPass
from latentbench.analysis.core.subject import Subject
from latentbench.data.captioned.draw import with_captions
from latentbench.data.errors import DataError
from latentbench.data.images import ImageData
from latentbench.data.reading.decoding import Batch, decode
from latentbench.data.reading.image_files import Reader
from latentbench.data.reading.prompted import CompleteImageData
from latentbench.models.codes import pooled
from latentbench.models.protocols import ImageTextModel, OwnTransform

ENCODED = 64
"""The number of images of files that a model encodes at once."""


@dataclass(frozen=True, eq=False)
class OwnVectors:
    """The vectors of images, `[N, D]`, and which of the images could be read, bool `[N]`."""

    vectors: Tensor
    readable: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Join the vectors of some images and of those that follow."""
        return cls(torch.cat([part.vectors for part in parts]), torch.cat([part.readable for part in parts]))


def from_originals(subject: Subject) -> tuple[CompleteImageData, OwnTransform] | None:
    """Return data and model if it encodes the test images from their files; None if from their pixels."""
    data, model = subject.data, subject.model
    if isinstance(data, CompleteImageData) and isinstance(model, OwnTransform):
        return data, model
    return None


def own_vectors(subject: Subject, reader: Reader | None = None) -> OwnVectors:
    """Encode the test images: from their files, if there are any and the model scales images itself.

    `reader` opens the files, as CLIP_benchmark does by default. Call it as `subject.once(own_vectors)`.
    """
    return OwnVectors.joined(_encoded(subject, 0, 1, reader))


def _encoded(subject: Subject, shard: int, shards: int, reader: Reader | None = None) -> list[OwnVectors]:
    """Encode one of several shards of the test images, batch by batch; there may be fewer batches."""
    data, sources = subject.data, from_originals(subject)
    size = ENCODED if sources else batch_size(data.image_shape)
    own = shard_of(len(data.test), size, shard, shards)
    if not own:
        return []
    if sources:
        images, model = sources
        # All workers of a machine together start as many processes as one worker alone would.
        jobs = max(torch.get_num_threads(), int(joblib.cpu_count()) // shards)
        decoded = decode(
            images.originals.take(own), model.transform, jobs=jobs, reader=reader or images.reader
        )
        batches = _joined_batches(decoded)
    else:
        pixels = in_batches(data.test.images[own.start : own.stop])
        every = torch.ones(len(data.test), dtype=torch.bool)
        readable = data.readable if isinstance(data, CompleteImageData) else every
        batches = zip(pixels, readable[own.start : own.stop].split(size), strict=True)
    return [
        OwnVectors(pooled(subject.posterior(to_float(pixels)).mean), readable) for pixels, readable in batches
    ]


def _joined_batches(batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
    """Join batches into larger ones, and yield the pixels and `readable` of each.

    Each has at least `ENCODED` images, except the last. The pixels are copied, because the next batch
    overwrites them.
    """
    parts: list[tuple[Tensor, Tensor]] = []
    for batch in batches:
        parts.append((torch.from_numpy(batch.pixels).clone(), torch.from_numpy(batch.readable)))
        if sum(len(readable) for _, readable in parts) >= ENCODED:
            yield _joined_tensors(parts)
            parts = []
    if parts:
        yield _joined_tensors(parts)


def _joined_tensors(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    pixels, readable = zip(*parts, strict=True)
    return torch.cat(pixels), torch.cat(readable)


def _batches(data: ImageData) -> int:
    """Count the batches of images whose texts are names of classes, or captions that came with the images."""
    if isinstance(data, CompleteImageData):
        return math.ceil(len(data.originals) / ENCODED)
    try:
        with_captions(data)  # the images are then redrawn for the captions
    except DataError:
        unnamed = data.test.labels is None or data.unnamed
        return 0 if unnamed else math.ceil(len(data.test) / batch_size(data.image_shape))
    return 0


def _part(subject: Subject, shard: int, shards: int) -> list[OwnVectors] | None:
    return _encoded(subject, shard, shards) if isinstance(subject.model, ImageTextModel) else None


def _joined(parts: Sequence[list[OwnVectors]]) -> list[OwnVectors]:
    return list(chain.from_iterable(parts))


def _give(subject: Subject, batches: list[OwnVectors]) -> None:
    subject.keep(own_vectors, OwnVectors.joined(batches))


OWN_VECTORS = SharedPass("encoding for words", _batches, _part, _joined, _give)
"""The pass whose result is `own_vectors`."""


def need_words_alone(analyses: Iterable[Analysis]) -> bool:
    """Return True if analyses need no vectors but these, so that a pretrained model sees no scaled pixels."""
    return all(each.passes == (OWN_VECTORS,) for each in analyses)
