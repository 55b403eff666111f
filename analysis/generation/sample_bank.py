"""The decoded samples of one model, and statistics of the real images that they are compared with.

Every statistic is computed at first use and kept; decoded images are not. `subject.once(SampleBank)` is the
one bank of a subject, `context.once(real_images)` is shared by all models on one data set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from latentbench.analysis.core.data_context import DataContext, to_uint8
from latentbench.analysis.core.metric import Unmeasurable, finite
from latentbench.analysis.core.subject import NO_DECODER, Subject
from latentbench.analysis.core.test_pass import joined_views
from latentbench.analysis.features.judge import NO_JUDGE, JudgedImages, Views
from latentbench.analysis.fidelity.feature_frechet import frechet_to_fixed
from latentbench.analysis.fidelity.generative_metrics import DENSITY_K, Cubes
from latentbench.analysis.generation.code_samplers import DRAWS
from latentbench.analysis.statistics.feature_sums import FeatureSums
from latentbench.analysis.statistics.moments import Moments
from latentbench.analysis.statistics.neighbours import nearest
from latentbench.data.errors import LatentbenchError

KEPT_SAMPLES = 64
"""Samples kept for figures."""
NEIGHBOURS = 5000
"""Images and samples that neighbours are sought among: the cost grows with the square of their number, and
three judges see half as many for less than one judge sees all."""


@dataclass(eq=False)
class SampleBank:
    """Codes from every sampler, decoded and seen by the judges."""

    subject: Subject
    _samples: dict[str, Samples] = field(default_factory=dict, init=False)

    def codes(self, sampler: str, count: int) -> Tensor:
        """Draw `count` new codes from a named sampler, `[count, *shape]`.

        Raises Unmeasurable if the sampler cannot draw from this model's codes.
        """
        return DRAWS[sampler](self.subject, count)

    def batches(self, sampler: str) -> Iterator[Tensor]:
        """Decode as many samples as there are test images, in batches, float32 in [0, 1] `[B, C, H, W]`.

        They are drawn and decoded anew, because all of them may be too large to keep. Raises Unmeasurable for
        a model without a decoder or with values that are not finite, and if the sampler cannot draw from this
        model's codes.
        """
        if not self.subject.can_decode:
            raise Unmeasurable(NO_DECODER)
        codes = self.codes(sampler, len(self.subject.data.test))
        for images in self.subject.decoded(codes):
            yield finite(images, "samples hold values that are not finite")

    def samples(self, sampler: str) -> Samples:
        """Return what is kept of the samples of `batches`. Raises as it does."""
        if sampler not in self._samples:
            self._samples[sampler] = Samples.of(self.batches(sampler), self.subject.context)
        return self._samples[sampler]

    def judged(self, sampler: str) -> Views:
        """Return each judge's view of the samples. Raises LatentbenchError where there is no judge."""
        judged = self.samples(sampler).judged
        if not judged:
            raise LatentbenchError(NO_JUDGE)
        return judged


@dataclass(frozen=True, eq=False)
class Samples:
    """The stored part of decoded samples: their number, the judges' views, and the first ones for figures."""

    count: int
    judged: Views
    kept: Tensor
    """uint8 `[M, C, H, W]`."""
    frechet: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    """The Fréchet distance to the test images and its standard error over samples, by extractor."""

    @classmethod
    def of(cls, batches: Iterable[Tensor], context: DataContext) -> Samples:
        """Look at batches of float images in [0, 1] once."""
        count, views, kept = 0, [], []
        sums: list[dict[str, FeatureSums]] = []
        for images in batches:
            if context.judges:
                views.append(context.view(images))
            if count < KEPT_SAMPLES:
                kept.append(to_uint8(images[: KEPT_SAMPLES - count]))
            found = context.sums(images, count)
            sums = [{name: sums[0][name] + found[name] for name in found}] if sums else [found]
            count += len(images)
        originals = context.original_sums if sums[0] else {}
        frechet = {name: frechet_to_fixed(originals[name], own) for name, own in sums[0].items()}
        return cls(count, joined_views(views), torch.cat(kept), frechet)


@dataclass(eq=False)
class RealImages:
    """The test images, and as many train images, as sets of points in one judge's features.

    The distance of the train images to the test images is what a perfect set of samples would have.
    Neighbours and kernels are computed on `device`; the other tensors are on the CPU.
    """

    test: JudgedImages
    train: JudgedImages
    device: torch.device

    @cached_property
    def test_points(self) -> Tensor:
        """The features of the test images that neighbours are sought among, see `some`."""
        return some(self.test.features).to(self.device)

    @cached_property
    def train_points(self) -> Tensor:
        """The features of the train images that neighbours are sought among, see `some`."""
        return some(self.train.features).to(self.device)

    @cached_property
    def test_distances(self) -> Tensor:
        """Distances of every one of `test_points` to its five nearest others, float64 `[N, 5]`."""
        return _distances_within(self.test_points, DENSITY_K)

    @cached_property
    def train_distances(self) -> Tensor:
        """The distance of every one of `train_points` to its nearest other, float64 `[N, 1]`."""
        return _distances_within(self.train_points, 1)

    @cached_property
    def test_moments(self) -> Moments:
        """Mean and covariance of the test images' features."""
        return Moments.of(self.test.features)

    @cached_property
    def train_moments(self) -> Moments:
        """Mean and covariance of the train images' features."""
        return Moments.of(self.train.features)

    @cached_property
    def test_cubes(self) -> Cubes:
        """The kernel distance's summary of the test images' features."""
        return Cubes.of(self.test.features.to(self.device))

    @cached_property
    def train_cubes(self) -> Cubes:
        """The kernel distance's summary of the train images' features."""
        return Cubes.of(self.train.features.to(self.device))


def real_images(context: DataContext) -> tuple[RealImages, ...]:
    """The real images as each judge sees them."""
    train = context.view_stored(context.data.train.images[: len(context.data.test)])
    return tuple(RealImages(*views, context.device) for views in zip(context.judged_test, train, strict=True))


def some(features: Tensor) -> Tensor:
    """At most `NEIGHBOURS` of features `[N, D]`, evenly spread over their order, which may mean something."""
    if len(features) <= NEIGHBOURS:
        return features
    return features[torch.linspace(0, len(features) - 1, NEIGHBOURS).long()]


def _distances_within(features: Tensor, k: int) -> Tensor:
    features = features.double()
    return nearest(features, features, k, exclude_self=True)[0]
