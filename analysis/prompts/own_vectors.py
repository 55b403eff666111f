"""The vectors of the test images in a model's own space: one pass, which several workers can share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import joblib
import torch
from torch import Tensor

from latentbench.analysis.core.data_context import batch_size, in_batches, shard_of, to_float
from latentbench.analysis.core.registry import SharedPass
from latentbench.analysis.core.subject import Subject
from latentbench.data.captioned.draw import with_captions
from latentbench.data.errors import DataError
from latentbench.data.images import ImageData
from latentbench.data.reading.decoding import decode
from latentbench.data.reading.prompted import CompleteImageData
from latentbench.models.codes import pooled
from latentbench.models.protocols import ImageTextModel, OwnTransform

ENCODED = 64
"""The number of images of files that a model encodes at once."""


def own_vectors(subject: Subject) -> Tensor:
    """Encode the test images `[N, D]`: from their files, if there are any and the model scales images itself.

    Call it as `subject.once(own_vectors)`.
    """
    return torch.cat(_encoded(subject, 0, 1))


def _encoded(subject: Subject, shard: int, shards: int) -> list[Tensor]:
    """Encode one of several shards of the test images, batch by batch; there may be fewer batches."""
    data, model = subject.data, subject.model
    own_transform = isinstance(data, CompleteImageData) and isinstance(model, OwnTransform)
    size = ENCODED if own_transform else batch_size(data.image_shape)
    own = shard_of(len(data.test), size, shard, shards)
    if not own:
        return []
    if isinstance(data, CompleteImageData) and isinstance(model, OwnTransform):
        # Workers that share a machine start no more processes together than one of them would.
        jobs = max(torch.get_num_threads(), int(joblib.cpu_count()) // shards)
        decoded = decode(data.originals.take(own), model.transform, jobs=jobs)
        batches = joined((torch.from_numpy(batch.pixels) for batch in decoded), size)
    else:
        batches = in_batches(data.test.images[own.start : own.stop])
    return [pooled(subject.posterior(to_float(batch)).mean) for batch in batches]


def joined(batches: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    """Join batches to larger ones of at least `count`, but for the last. Each is copied before the next."""
    parts: list[Tensor] = []
    for batch in batches:
        parts.append(batch.clone())
        if sum(map(len, parts)) >= count:
            yield torch.cat(parts)
            parts = []
    if parts:
        yield torch.cat(parts)


def _batches(data: ImageData) -> int:
    """Count the batches of images whose texts are names of classes, or captions that came with the images."""
    if isinstance(data, CompleteImageData):
        return math.ceil(len(data.originals) / ENCODED)
    try:
        with_captions(data)  # then the images are other ones, drawn for the captions
    except DataError:
        return 0 if data.test.labels is None else math.ceil(len(data.test) / batch_size(data.image_shape))
    return 0


def _part(subject: Subject, shard: int, shards: int) -> list[Tensor] | None:
    return _encoded(subject, shard, shards) if isinstance(subject.model, ImageTextModel) else None


def _joined(parts: Sequence[list[Tensor]]) -> list[Tensor]:
    return list(chain.from_iterable(parts))


def _give(subject: Subject, batches: list[Tensor]) -> None:
    subject.keep(own_vectors, torch.cat(batches))


OWN_VECTORS = SharedPass("encoding for words", _batches, _part, _joined, _give)
"""The pass whose result is `own_vectors`."""
