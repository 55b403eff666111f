"""The decoded samples of one model, and statistics of the real images that they are compared with.

Every sample and every statistic is computed at first use and kept: `subject.once(SampleBank)` is the one
bank of a subject, `context.once(RealImages)` is shared by all models on one data set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from latentbench.analysis.core.metric import Unmeasurable, finite
from latentbench.analysis.core.subject import NO_DECODER, DataContext, Subject, to_float
from latentbench.analysis.features.judge import JudgedImages
from latentbench.analysis.generation.code_samplers import SAMPLERS
from latentbench.analysis.generation.generative_metrics import DENSITY_K, Cubes
from latentbench.analysis.statistics.moments import Moments
from latentbench.analysis.statistics.neighbours import nearest


@dataclass(eq=False)
class SampleBank:
    """Codes from every sampler, decoded and seen by the judge."""

    subject: Subject
    _images: dict[str, Tensor] = field(default_factory=dict, init=False)
    _judged: dict[str, JudgedImages] = field(default_factory=dict, init=False)

    def codes(self, sampler: str, count: int) -> Tensor:
        """Draw `count` new codes from a named sampler, `[count, D]`.

        Raises Unmeasurable if the sampler cannot draw from this model's codes.
        """
        return SAMPLERS[sampler].draw(self.subject, count)

    def images(self, sampler: str) -> Tensor:
        """Decode as many samples as there are test images, float32 in [0, 1] `[N, C, H, W]`.

        Raises Unmeasurable for a model without a decoder or with values that are not finite, and if the
        sampler cannot draw from this model's codes.
        """
        if not self.subject.can_decode:
            raise Unmeasurable(NO_DECODER)
        if sampler not in self._images:
            decoded = self.subject.decode(self.codes(sampler, len(self.subject.data.test)))
            self._images[sampler] = finite(decoded, "samples hold values that are not finite")
        return self._images[sampler]

    def judged(self, sampler: str) -> JudgedImages:
        """Return the judge's view of `images(sampler)`."""
        if sampler not in self._judged:
            self._judged[sampler] = self.subject.context.view(self.images(sampler))
        return self._judged[sampler]


@dataclass(eq=False)
class RealImages:
    """The test images, and as many train images, as sets of points in the judge's features."""

    context: DataContext

    @property
    def test(self) -> JudgedImages:
        """The judge's view of the test images."""
        return self.context.judged_test

    @cached_property
    def train(self) -> JudgedImages:
        """The judge's view of as many train images as there are test images.

        Their distance to the test images is that of a perfect set of samples.
        """
        return self.context.view(to_float(self.context.data.train.images[: len(self.context.data.test)]))

    @cached_property
    def test_distances(self) -> Tensor:
        """Distances of every test image to its five nearest others, float64 `[N, 5]`."""
        return _distances_within(self.test, DENSITY_K)

    @cached_property
    def train_distances(self) -> Tensor:
        """The distance of every image of `train` to its nearest other, float64 `[N, 1]`."""
        return _distances_within(self.train, 1)

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
        return Cubes.of(self.test.features)

    @cached_property
    def train_cubes(self) -> Cubes:
        """The kernel distance's summary of the train images' features."""
        return Cubes.of(self.train.features)


def _distances_within(images: JudgedImages, k: int) -> Tensor:
    features = images.features.double()
    return nearest(features, features, k, exclude_self=True)[0]
