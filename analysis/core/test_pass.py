"""One pass over the test images: each batch is encoded and decoded once, and only columns are kept.

What is kept has one entry per image, so that passes over parts of the test images can be concatenated:
shards whose borders are those of batches give the same values as one pass over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import torch
from torch import Tensor

from latentbench.analysis.features.judge import JudgedImages, Views
from latentbench.analysis.image_similarity import (
    MS_SSIM_SIDE,
    SSIM_TAPS,
    check_images,
    ms_ssim,
    mse,
    ssim,
)
from latentbench.analysis.statistics.feature_sums import FeatureSums
from latentbench.data.storage.temporary_file import room_for_codes
from latentbench.models.codes import Shape
from latentbench.models.protocols import Posterior

KEPT_VALUES = 20_000_000
"""Values of codes that are kept: all codes of 10,000 images up to 2,000 values each, fewer of larger ones."""
KEPT_IN_POSITIONS = KEPT_VALUES // 2
"""The same for grids and tokens, of which the latent analyses use one position of each image."""


def kept_codes(shape: Shape) -> int:
    """Return how many codes of this shape are kept, at least one.

    >>> kept_codes((16,)), kept_codes((4, 32, 32))
    (1250000, 2441)
    """
    return max(1, (KEPT_VALUES if len(shape) == 1 else KEPT_IN_POSITIONS) // math.prod(shape))


class JoinedCodes:
    """Codes of consecutive sets of images, which are joined as they come, so that there is one copy of them.

    `count` is the most images that come, and `kept` says how many codes of a shape are kept.
    """

    def __init__(self, count: int, kept: Callable[[Shape], int] | None = None) -> None:
        self._count, self._kept = count, kept
        self._filled = 0
        self._codes: Posterior | None = None

    def add(self, codes: Posterior | None) -> None:
        """Add the codes of the next images; None if the model has no code vector."""
        if codes is None:
            return
        if self._codes is None:
            shape = codes.mean.shape[1:]
            room = min(self._count, self._kept(shape) if self._kept else self._count)
            self._codes = codes.map(lambda _: room_for_codes(room, shape))
        first = self._filled
        codes = codes.part(slice(len(self._codes.mean) - first))
        self._filled += len(codes.mean)
        for joined, new in ((self._codes.mean, codes.mean), (self._codes.log_var, codes.log_var)):
            if joined is not None and new is not None:
                joined[first : self._filled] = new

    @property
    def joined(self) -> Posterior | None:
        """The codes so far; None if there are none."""
        return None if self._codes is None else self._codes.part(slice(self._filled))


@dataclass(frozen=True, eq=False)
class ImageErrors:
    """Errors of reconstructions, one value for each of N images."""

    mse: Tensor
    ssim: Tensor | None
    """None for images that are smaller than the window."""
    ms_ssim: Tensor | None
    """None for images that are smaller than five scales need."""
    judged: Views
    """Each judge's view of the reconstructions; empty without judges."""
    sums: Mapping[str, FeatureSums] = field(default_factory=dict)
    """The sums of the features of the reconstructions, by extractor."""
    distances: Mapping[str, Tensor] = field(default_factory=dict)
    """The distance of each image, by distance network."""

    @classmethod
    def of(
        cls, originals: Tensor, reconstructions: Tensor, view: Callable[[Tensor], Views] | None
    ) -> ImageErrors:
        """Compare float images in [0, 1] `[N, C, H, W]`. Raises ValueError for others."""
        check_images(originals, reconstructions)
        side = min(originals.shape[2:])
        return cls(
            mse(originals, reconstructions),
            ssim(originals, reconstructions) if side >= SSIM_TAPS else None,
            ms_ssim(originals, reconstructions) if side >= MS_SSIM_SIDE else None,
            () if view is None else view(reconstructions),
        )

    @classmethod
    def joined(cls, parts: Sequence[ImageErrors]) -> ImageErrors:
        """Join the errors of several sets of images, in order."""
        return cls(
            torch.cat([part.mse for part in parts]),
            _joined([part.ssim for part in parts]),
            _joined([part.ms_ssim for part in parts]),
            joined_views([part.judged for part in parts]),
            {name: reduce(add, (part.sums[name] for part in parts)) for name in parts[0].sums},
            {name: torch.cat([part.distances[name] for part in parts]) for name in parts[0].distances},
        )


@dataclass(frozen=True, eq=False)
class TestPass:
    """The results of a pass over N test images. Without decoding, `errors` and `problem` are None."""

    __test__ = False  # the name is no test's

    count: int
    codes: Posterior | None
    """q(z | x) of the first images, as many as are kept; None for a codec, which has no code vector."""
    kl: Tensor | None
    """KL(q(z | x) ‖ N(0, I)) of each image, nats, float64 `[N]`; None for a point posterior."""
    errors: ImageErrors | None = None
    problem: str | None = None
    """The reason why reconstructions cannot be measured; None if they can."""

    @classmethod
    def of(
        cls,
        posterior: Posterior | None,
        errors: ImageErrors | None = None,
        problem: str | None = None,
        *,
        count: int,
    ) -> TestPass:
        """Make the pass over one batch."""
        kl = None if posterior is None else posterior.kl()
        rate = None if kl is None else kl.double().flatten(1).sum(1)
        return cls(count, posterior, rate, errors, problem)

    @classmethod
    def joined(cls, parts: Sequence[TestPass]) -> TestPass:
        """Join the passes over consecutive parts of the test images."""
        problem = next((part.problem for part in parts if part.problem is not None), None)
        errors = [part.errors for part in parts if part.errors is not None]
        count = sum(part.count for part in parts)
        codes = JoinedCodes(count, kept_codes)
        for part in parts:
            codes.add(part.codes)
        return cls(
            count,
            codes.joined,
            _joined([part.kl for part in parts]),
            ImageErrors.joined(errors) if errors and problem is None else None,
            problem,
        )


def joined_views(parts: Sequence[Views]) -> Views:
    """Join each judge's views of consecutive sets of images."""
    return tuple(
        JudgedImages(
            torch.cat([view.features for view in own]), torch.cat([view.probabilities for view in own])
        )
        for own in zip(*parts, strict=True)
    )


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None
