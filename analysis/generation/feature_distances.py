"""Reconstructions and samples in the features of networks trained on photographs: rFID, FD and LPIPS.

A suite names the networks: `features: [inception, "lpips:alex"]`. Each metric is measured once for each of
them and has its name in brackets.
"""

from __future__ import annotations

from collections.abc import Iterator

from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_DECODER, Subject
from latentbench.analysis.features.extractors import Absent, Distance
from latentbench.analysis.fidelity.feature_frechet import frechet_of_pairs
from latentbench.analysis.generation.sample_bank import SampleBank
from latentbench.analysis.generation.sample_quality import why_unusable
from latentbench.analysis.stored.samplers import SAMPLERS
from latentbench.data.errors import LatentbenchError

NO_FEATURES = "no features: a suite names them, as in features: [inception]"
OF_FEATURES = ("features", "sample_features")
"""The analyses that need features."""
FEWEST = 2
"""Images that have a covariance."""

RFID = define(
    "rfid",
    better="lower",
    title="Fréchet distance of reconstructions to the originals, in the features of a network.",
    heading="rFID",
    decimals=2,
    headline=True,
    per="space",
)
LPIPS = define(
    "lpips",
    better="lower",
    title="Learned perceptual distance of reconstructions, in the layers of a network.",
    heading="LPIPS",
    headline=True,
    per="distance",
)
FD = {
    name: define(
        f"fd_{name}",
        better="lower",
        title=f"Fréchet distance of {sampler.title} to the test images, in the features of a network.",
        heading=f"FD {name}",
        decimals=2,
        per="space",
    )
    for name, sampler in SAMPLERS.items()
}


@analysis("features", [RFID, LPIPS], opt_in=True)
def of_reconstructions(subject: Subject) -> Measurement:
    """Compare reconstructions with the originals in every requested network."""
    context = subject.context
    if not context.networks:
        raise LatentbenchError(NO_FEATURES)
    errors = subject.tested.errors
    if errors is None:
        raise Unmeasurable(subject.tested.problem or NO_DECODER)
    metrics: list[Metric] = []
    examples = {}
    for feature in context.networks:
        (metric,) = (*RFID.expanded([feature.name]), *LPIPS.expanded([feature.name]))
        if isinstance(feature, Absent):
            metrics.append(metric.missing(feature.reason))
        elif not isinstance(feature, Distance):
            metrics.append(_rfid(metric, subject, feature.name))
        elif feature.name in errors.distances:
            metrics.append(metric.mean(errors.distances[feature.name]))
            examples[metric.name] = errors.distances[feature.name].numpy()
        else:
            metrics.append(metric.missing(f"images are smaller than {feature.smallest_side} px"))
    return Measurement(tuple(metrics), examples=examples)


def _rfid(metric: MetricDefinition, subject: Subject, name: str) -> Metric:
    assert subject.tested.errors is not None
    sums = subject.tested.errors.sums[name]
    if sums.count < FEWEST:
        return metric.missing(f"fewer than {FEWEST} images", n=sums.count)
    value, error = frechet_of_pairs(subject.context.original_sums[name], sums)
    return metric.measured(value, se=error, n=sums.count, common_se=error)


@analysis("sample_features", list(FD.values()), opt_in=True)
def of_samples(subject: Subject) -> Measurement:
    """Compare decoded samples of every sampler with the test images in every requested network."""
    if not subject.context.networks:
        raise LatentbenchError(NO_FEATURES)
    return Measurement(tuple(_of_samples(subject)))


def _of_samples(subject: Subject) -> Iterator[Metric]:
    bank = subject.once(SampleBank)
    absent = {each.name: each.reason for each in subject.context.networks if isinstance(each, Absent)}
    for sampler, definition in FD.items():
        problem = why_unusable(bank, sampler)
        for name in subject.context.feature_names:
            for metric in definition.expanded([name]):
                if reason := absent.get(name) or problem:
                    yield metric.missing(reason)
                else:
                    samples = bank.samples(sampler)
                    value, error = samples.frechet[name]
                    yield metric.measured(value, se=error, n=samples.count)
