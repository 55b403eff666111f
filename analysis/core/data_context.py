"""The data context: the images of a data set, in batches, and what its judges and features see in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add
from typing import Self

import torch
from torch import Tensor

from latentbench.analysis.core.freed_memory import tidied
from latentbench.analysis.core.test_pass import joined_views
from latentbench.analysis.features.extractors import ByProtocol, Distance, Extractor, Feature, Network
from latentbench.analysis.features.judge import NO_JUDGE, Judge, Views, reduced, why_not_judged
from latentbench.analysis.features.stored_judges import JudgeProgress, load_judges
from latentbench.analysis.statistics.feature_sums import FeatureSums
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.storage.memo import Memo

BATCH = 1000
BATCH_VALUES = 2_000_000
"""The number of values in a batch, for images so large that a thousand would be too much."""


def batch_size(image_shape: Sequence[int], *, largest: int = BATCH) -> int:
    """Return the number of images that are computed at once: `largest`, or fewer of large images.

    >>> batch_size((1, 28, 28)), batch_size((3, 128, 128))
    (1000, 40)
    """
    return max(1, min(largest, BATCH_VALUES // math.prod(image_shape)))


def shard_of(count: int, size: int, shard: int, shards: int) -> range:
    """Return which of `count` images belong to one of several shards, each of whole batches of `size`.

    >>> [shard_of(10, 4, shard, 2) for shard in (0, 1)]
    [range(0, 4), range(4, 10)]
    """
    batches = math.ceil(count / size)
    start, stop = (size * (batches * border // shards) for border in (shard, shard + 1))
    return range(min(start, count), min(stop, count))


def in_batches(images: Tensor) -> Iterator[Tensor]:
    """Yield images `[N, C, H, W]` in batches of `batch_size`."""
    shape = images.shape[1:]
    return tidied(images.split(batch_size(shape)), shape)


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 images 0–255 to float32 in [0, 1]."""
    return images.float() / 255


def to_uint8(images: Tensor) -> Tensor:
    """Convert float images in [0, 1] to the nearest uint8 0–255."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


@dataclass(eq=False)
class DataContext(Memo):
    """The data, their judges and the judged originals, which all models on one data set share."""

    data: ImageData
    judges: tuple[Judge, ...] = ()
    """Empty if the data have no labels to train one on; metrics that need a judge are then null."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    features: tuple[Feature, ...] = ()
    """Networks besides the judges, of which some may be absent, and evaluation protocols."""

    @classmethod
    def of(
        cls,
        data: ImageData,
        device: torch.device,
        *,
        judged: bool = True,
        features: tuple[Feature, ...] = (),
        progress: JudgeProgress | None = None,
    ) -> Self:
        """Build the context of data, with their judges unless `judged` is false or there are no train images.

        Judges are trained first, on the device, if none are shipped or cached; `progress` follows that.
        """
        wanted = judged and not data.test_only
        judges = load_judges(data, device=device, progress=progress) if wanted else ()
        return cls(data, judges, device, features)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of all features, also of absent ones."""
        return tuple(feature.name for feature in self.features)

    @property
    def networks(self) -> tuple[Network, ...]:
        """The features without the protocols."""
        return tuple(feature for feature in self.features if not isinstance(feature, ByProtocol))

    @property
    def protocols(self) -> tuple[ByProtocol, ...]:
        """The evaluation protocols by which reconstructions are measured, besides the usual way."""
        return tuple(feature for feature in self.features if isinstance(feature, ByProtocol))

    @property
    def extractors(self) -> tuple[Extractor, ...]:
        """The extractors that are on this machine."""
        return tuple(feature for feature in self.features if isinstance(feature, Extractor))

    def sums(self, images: Tensor, first: int) -> dict[str, FeatureSums]:
        """Sum each extractor's features of consecutive float images; the first one has the number `first`."""
        return {
            extractor.name: FeatureSums.of(extractor.features(images, device=self.device), first)
            for extractor in self.extractors
        }

    def distances(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return each network's distance of pairs of float images, if they are large enough for it."""
        return {
            feature.name: feature.between(x, y, device=self.device)
            for feature in self.features
            if isinstance(feature, Distance) and min(x.shape[2:]) >= feature.smallest_side
        }

    @cached_property
    def original_sums(self) -> dict[str, FeatureSums]:
        """The sums of each extractor's features of the test images."""
        size, images = batch_size(self.data.image_shape), self.data.test.images
        parts = [self.sums(to_float(batch), at * size) for at, batch in enumerate(images.split(size))]
        return {name: reduce(add, (part[name] for part in parts)) for name in parts[0]}

    @cached_property
    def no_judge(self) -> str | None:
        """The reason why nothing can judge images; None if something can."""
        return why_not_judged(self.judges, self.data)

    def view(self, images: Tensor) -> Views:
        """Return each judge's view of float images in [0, 1]. Raises LatentbenchError without judges."""
        if not self.judges:
            raise LatentbenchError(NO_JUDGE)
        seen = reduced(images.to(self.device))  # once, not by every judge
        return tuple(judge.view(seen, device=self.device) for judge in self.judges)

    def view_all(self, batches: Iterable[Tensor]) -> Views:
        """Return each judge's view of batches of float images in [0, 1], which are never all in memory."""
        return joined_views([self.view(batch) for batch in batches])

    def view_stored(self, images: Tensor) -> Views:
        """Return each judge's view of uint8 images `[N, C, H, W]`."""
        return self.view_all(map(to_float, in_batches(images)))

    @cached_property
    def judged_test(self) -> Views:
        """Each judge's view of the test images."""
        return self.view_stored(self.data.test.images)
