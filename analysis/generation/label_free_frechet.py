"""The Fréchet distance in two feature spaces other than the judge's, as a check of the order of models.

Neither was trained on labels: the images' own principal components, and an untrained network of the judge's
shape (precedent for the latter: Naeem et al. 2020, arXiv:2002.09797). The size of a distance
cannot be compared across spaces; the order of models can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from latentbench.analysis.core.data_context import DataContext, batch_size, in_batches, to_float
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.features.judge import FEATURES, JudgeNetwork
from latentbench.analysis.fidelity.generative_metrics import frechet_between
from latentbench.analysis.generation.sample_bank import SampleBank
from latentbench.analysis.generation.sample_quality import BLOCKS, why_unusable
from latentbench.analysis.statistics.intervals import jackknife_error
from latentbench.analysis.statistics.moments import AT_ONCE, NO_VARIANCE, Moments, columns
from latentbench.analysis.stored.equal_flops import LABEL_FREE_SPACES
from latentbench.analysis.stored.samplers import SAMPLERS, SAMPLING, samplers_of
from latentbench.models.seeds import derive

FITTED = 5000
"""Images of more values than this have their principal components fitted to this many images at most."""
SETTLING = 1000
"""Train images whose activations the untrained network's normalisation is fitted to."""
SEED = 0
"""Seed of the untrained network, which is the same for all models and data sets of one shape."""

Features = Callable[[Tensor], Tensor]
"""A function from float images in [0, 1] `[N, C, H, W]` to float64 `[N, D]`."""


def principal_components(images: Tensor, count: int = FEATURES) -> Features:
    """Fit the projection on the first `count` principal components of uint8 `images`, or on all if fewer.

    N images of P pixels have at most P components, and at most N − 1. The smaller of the two matrices that
    have the same eigenvalues is decomposed, `[P, P]` or `[N, N]`: photographs have many more pixels than
    there are images. Where P is more than `FITTED`, at most the first `FITTED` images are used.
    """
    pixels = math.prod(images.shape[1:])
    if pixels > FITTED:
        images = images[:FITTED]
    if len(images) > pixels:
        blocks = images.split(max(1, AT_ONCE // pixels))
        moments = reduce(add, (Moments.of(_values(block, slice(None))) for block in blocks))
        mean, axes = moments.mean, torch.linalg.eigh(moments.covariance)[1].flip(1)[:, :count]
    else:
        mean, axes = _axes_of_few(images, pixels, count)
    return lambda others: (others.flatten(1).double() - mean) @ axes


def _axes_of_few(images: Tensor, pixels: int, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean `[P]` and the principal axes `[P, K]` of N ≤ P images, from their inner products.

    The images are read a few pixels at a time, because all of them as floats are eight times as large.
    """
    blocks = columns(len(images), pixels)
    mean = torch.cat([_values(images, block).mean(0) for block in blocks])
    products = torch.zeros(len(images), len(images), dtype=torch.float64)
    for block in blocks:
        centred = _values(images, block) - mean[block]
        products += centred @ centred.T
    variances, weights = torch.linalg.eigh(products)
    varies = variances > NO_VARIANCE * variances[-1]
    scaled = (weights[:, varies] / variances[varies].sqrt()).flip(1)[:, :count]
    axes = torch.cat([(_values(images, block) - mean[block]).T @ scaled for block in blocks])
    return mean, axes


def _values(images: Tensor, block: slice) -> Tensor:
    """Return some pixels of uint8 images as float64 in [0, 1], `[N, B]`."""
    return to_float(images.flatten(1)[:, block]).double()


def untrained_network(images: Tensor) -> Features:
    """Build the features of a network of the judge's shape with random weights.

    Its normalisations are fitted to the first of uint8 `images`, so that every layer's activations have a
    spread of one: without that the first layer's random scale would decide which features count.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(SEED, "untrained judge"))
        network = JudgeNetwork(images.shape[1], 2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches, not a moving one
    size = batch_size(images.shape[1:])
    network.train()
    with torch.inference_mode():
        for batch in images[:SETTLING].split(size):
            network(to_float(batch))
    network.eval().requires_grad_(False)

    @torch.inference_mode()
    def features(others: Tensor) -> Tensor:
        return torch.cat([network(batch)[0] for batch in others.split(size)]).double()

    return features


@dataclass(frozen=True)
class Space:
    """A feature space in which samples are compared with images; `fit` makes it from uint8 train images."""

    name: str
    title: str
    heading: str
    fit: Callable[[Tensor], Features]

    def define(self, name: str, of: str, heading: str) -> MetricDefinition:
        """Define the metric: the Fréchet distance between `of` and the test images in this space."""
        return define(
            f"frechet_{name}_{self.name}",
            unit="",
            better="neither" if name == "floor" else "lower",
            title=f"Fréchet distance of {of} to the test images, in {self.title}.",
            heading=f"Fréchet {heading} {self.heading}",
            decimals=2,
            # Version 2 of `prior`: null for a code that is not trained to follow one.
            version=2 if name == "prior" else 1,
        )


PIXELS, UNTRAINED = LABEL_FREE_SPACES
SPACES = (
    Space(PIXELS, f"{FEATURES} principal components of the pixels", "pixels", principal_components),
    Space(UNTRAINED, "the features of an untrained network", "untrained", untrained_network),
)
OF_SAMPLES = {
    (space.name, name): space.define(name, sampler.title, name)
    for space in SPACES
    for name, sampler in SAMPLERS.items()
}
FLOORS = {space.name: space.define("floor", "as many train images", "floor") for space in SPACES}


def definitions_of(analysis: str) -> list[MetricDefinition]:
    """Return the distances of the samplers of an analysis, space by space."""
    return [OF_SAMPLES[space.name, sampler] for space in SPACES for sampler in samplers_of(analysis)]


@analysis("crosschecks", [*definitions_of(SAMPLING), *FLOORS.values()], opt_in=True)
def crosschecks(subject: Subject) -> Measurement:
    """Compare decoded samples of every sampler with the test images, in spaces that no label has shaped.

    This needs no judge, so data without labels can be measured too.
    """
    metrics = label_free_distances(subject, samplers_of(SAMPLING))
    references = subject.context.once(_references)
    floors = [
        FLOORS[space].measured(reference.distance(reference.floor), n=reference.floor.count)
        for space, reference in references.items()
    ]
    return Measurement((*metrics, *floors))


def label_free_distances(subject: Subject, samplers: Sequence[str]) -> list[Metric]:
    """Return the distances of the samples of some samplers, space by space.

    Raises Unmeasurable for fewer than two train or test images.
    """
    if len(subject.data.test) < 2 or len(subject.data.train) < 2:
        raise Unmeasurable("fewer than 2 train or test images")
    return [
        _distance(OF_SAMPLES[space, sampler], reference, subject, sampler)
        for space, reference in subject.context.once(_references).items()
        for sampler in samplers
    ]


@dataclass(frozen=True, eq=False)
class _Reference:
    """The test images in a space, and as many train images."""

    features: Features
    test: Moments
    floor: Moments

    def distance(self, other: Moments) -> float:
        return frechet_between(self.test, other)


def _references(context: DataContext) -> dict[str, _Reference]:
    """Return the real images in every space."""
    test = context.data.test.images
    train = context.data.train.images[: len(test)]
    return {
        space.name: _Reference(
            features := space.fit(train), _moments(features, test), _moments(features, train)
        )
        for space in SPACES
    }


def _moments(features: Features, images: Tensor) -> Moments:
    """Return the moments of uint8 images in a space, looking at few of them at once."""
    return Moments.of(torch.cat([features(to_float(batch)) for batch in in_batches(images)]))


def _distance(metric: MetricDefinition, reference: _Reference, subject: Subject, sampler: str) -> Metric:
    bank = subject.once(SampleBank)
    if problem := why_unusable(bank, sampler):
        return metric.missing(problem)
    return _measured(metric, reference, bank.batches(sampler))


def distances_of(
    subject: Subject, batches: Callable[[], Iterable[Tensor]], metrics: Mapping[str, MetricDefinition]
) -> list[Metric]:
    """Return the distance of images in each space as the metric of that space.

    `batches` gives float images in [0, 1] `[B, C, H, W]`, once for each space.
    """
    references = subject.context.once(_references)
    return [_measured(metric, references[space], batches()) for space, metric in metrics.items()]


def _measured(metric: MetricDefinition, reference: _Reference, batches: Iterable[Tensor]) -> Metric:
    features = torch.cat([reference.features(images) for images in batches])
    blocks = [Moments.of(block) for block in features.tensor_split(BLOCKS)]
    whole = reduce(add, blocks)
    return metric.measured(
        reference.distance(whole), se=jackknife_error(blocks, reference.distance), n=whole.count
    )
