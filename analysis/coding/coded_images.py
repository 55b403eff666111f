"""Images as files: codes that are rounded, choices of a discrete code, and files of a codec."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentbench.analysis.coding import entropy_coder
from latentbench.analysis.coding.entropy_coder import Distribution, Integers
from latentbench.analysis.coding.quantisation import Quantiser
from latentbench.analysis.core.data_context import DataContext, batch_size, to_float
from latentbench.analysis.core.metric import finite
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.image_similarity import mse
from latentbench.models.families.codecs.image_files import Jpeg, QualitySpec
from latentbench.models.protocols import DiscreteAutoencoder, ImageCodec

MOST_VALUES = 128_000_000
"""Pixel values that are decoded at each step: all of 10,000 digits, the first 600 images of 256 × 256 × 3."""
JPEG_QUALITIES = (1, 3, 5, 8, 12, 20, 30, 45, 60, 75, 85, 92, 96)


@dataclass(frozen=True, eq=False)
class Coded:
    """The test images as one file, and decoded from it."""

    step: float | None
    """The step in standard deviations; None for what is not rounded."""
    bits: float
    """Bits of the file per image."""
    mse: Tensor
    """The error of each image, `[n]`."""
    each: Tensor
    """Bits of each image, float64 `[n]`: of its file, or what the model of the train codes says it takes."""

    @property
    def error(self) -> float:
        """The mean error."""
        return self.mse.mean().item()


def coded_count(subject: Subject) -> int:
    """Return how many test images are coded: as many as have their codes kept, and fewer of large images."""
    return min(len(subject.test_codes.mean), max(1, MOST_VALUES // math.prod(subject.data.image_shape)))


def rounded(subject: Subject, quantiser: Quantiser, train: Tensor, test: Tensor) -> Coded:
    """Round codes, write them as one file, and decode the images from it."""
    distributions, channels = quantiser.distributions(train), quantiser.integers(test)
    content, read = _written_and_read(channels, distributions)
    each = _bits_of_images(channels, distributions, len(test))
    return Coded(quantiser.step, 8 * len(content) / len(test), _errors(subject, quantiser.codes(read)), each)


def as_choices(subject: Subject, model: DiscreteAutoencoder) -> Coded:
    """Write the choices of a discrete code as one file; positions of a grid share one distribution."""
    count, sizes = coded_count(subject), model.code_sizes
    train, test = (
        subject.indices(finite(codes.mean)).numpy().astype(np.int32)
        for codes in (subject.train_codes, subject.test_codes.part(slice(count)))
    )
    channels = list(test.T.copy())
    if len(subject.code_shape) > 1 and len(set(sizes)) == 1:
        distributions = [Distribution.of_choices(train.flatten(), sizes[0])] * len(channels)
    else:
        columns = zip(train.T, sizes, strict=True)
        distributions = [Distribution.of_choices(values, size) for values, size in columns]
    content, read = _written_and_read(channels, distributions)
    indices = torch.from_numpy(np.stack(read, axis=1)).long().split(batch_size(subject.data.image_shape))
    with torch.inference_mode():
        codes = torch.cat([model.codes(batch.to(subject.context.device)).float().cpu() for batch in indices])
    each = _bits_of_images(channels, distributions, count)
    return Coded(None, 8 * len(content) / count, _errors(subject, codes), each)


def _written_and_read(
    channels: list[Integers], distributions: list[Distribution]
) -> tuple[bytes, list[Integers]]:
    content = entropy_coder.encode(channels, distributions)
    return content, entropy_coder.decode(content, [len(values) for values in channels], distributions)


def _bits_of_images(channels: list[Integers], distributions: list[Distribution], count: int) -> Tensor:
    """Return the bits of each image, float64 `[count]`."""
    total = np.zeros(count)
    for values, distribution in zip(channels, distributions, strict=True):
        total += distribution.bits(values).reshape(count, -1).sum(1)
    return torch.from_numpy(total)


def _errors(subject: Subject, codes: Tensor) -> Tensor:
    """Return the error of each of the first test images, decoded from codes."""
    images = subject.data.test.images[: len(codes)].split(batch_size(subject.data.image_shape))
    decoded = subject.decoded(codes)
    return torch.cat([mse(to_float(batch), image) for batch, image in zip(images, decoded, strict=True)])


def as_files(context: DataContext, codec: ImageCodec) -> Coded:
    """Compress the test images with a codec, one file each."""
    images = context.data.test.images[: max(1, MOST_VALUES // math.prod(context.data.image_shape))]
    sizes, errors = [], []
    for batch in images.split(batch_size(context.data.image_shape)):
        files = codec.compress(to_float(batch))
        sizes += [8.0 * len(content) for content in files]
        errors.append(mse(to_float(batch), codec.decompress(files)))
    each = torch.tensor(sizes, dtype=torch.float64)
    return Coded(None, each.mean().item(), torch.cat(errors), each)


def jpeg_curve(context: DataContext) -> list[Coded]:
    """Compress the test images as JPEG at many qualities; models on one data set share the result."""
    shape = context.data.image_shape
    specs = [QualitySpec(family="jpeg", quality=quality) for quality in JPEG_QUALITIES]
    return [as_files(context, Jpeg(spec, shape)) for spec in specs]
