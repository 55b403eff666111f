"""The reconstruction metrics of a model under any protocol, in one pass over the images."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from typing_extensions import override

from latentbench.analysis.core.data_context import batch_size
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable
from latentbench.analysis.features import inception
from latentbench.analysis.features.extractors import Absent, Distance, Extractor, Feature
from latentbench.analysis.fidelity.feature_frechet import frechet_of_pairs, frechet_to_fixed
from latentbench.analysis.generation.feature_distances import LPIPS, RFID
from latentbench.analysis.image_similarity import SSIM_TAPS, UNIFORM_TAPS, decibels, structural_similarity
from latentbench.analysis.protocols.protocol import MetricName, Protocol, network_of
from latentbench.analysis.protocols.scaled_images import batches
from latentbench.analysis.reconstruction import PSNR, SSIM
from latentbench.analysis.statistics.feature_sums import FeatureSums
from latentbench.data.reading.decoding import Progress
from latentbench.data.reading.image_source import ImageSource, Sources
from latentbench.models.protocols import Autoencoder, ImageCodec
from latentbench.models.seeds import generator


@dataclass(frozen=True)
class ProtocolMeasured:
    """A model to measure, and images at their original size.

    `size` is the side of the squares that the model gets, None for images that have theirs.
    """

    model: Autoencoder | ImageCodec
    sources: Sources
    size: int | None
    channels: int
    features: Mapping[str, Feature] = field(default_factory=dict)
    """Loaded networks by name, such as `lpips:alex` and `inception`."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    progress: Progress | None = None
    """Shows how many test images of a pass are measured."""


DEFINITIONS: dict[MetricName, MetricDefinition] = {"psnr": PSNR, "ssim": SSIM, "lpips": LPIPS, "rfid": RFID}


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric, and its value for each image where it is their mean."""

    metric: Metric
    examples: Tensor | None = None


def definition(metric: MetricName, protocol: Protocol) -> MetricDefinition:
    """Return the definition of a metric, with the network that a protocol uses for it."""
    network = network_of(metric, protocol)
    return DEFINITIONS[metric] if network is None else DEFINITIONS[metric].of(network)


def measure_under(protocol: Protocol, metric: MetricName, subject: ProtocolMeasured) -> Metric:
    """Measure one metric of the test images by a protocol."""
    return measure_all_under(protocol, {metric: definition(metric, protocol)}, subject)[metric].metric


@torch.inference_mode()
def measure_all_under(
    protocol: Protocol, metrics: Mapping[MetricName, MetricDefinition], subject: ProtocolMeasured
) -> dict[MetricName, Measured]:
    """Measure metrics of the test images by a protocol, in one pass; each gets its definition's name."""
    found: dict[MetricName, Measured] = {}
    open_columns: dict[MetricName, _Column] = {}
    for metric in metrics:
        network = network_of(metric, protocol)
        feature = None if network is None else subject.features[network]
        if isinstance(feature, Absent):
            found[metric] = Measured(metrics[metric].missing(feature.reason))
        elif isinstance(feature, Extractor):
            open_columns[metric] = _SetDistance(protocol, subject, feature)
        else:
            open_columns[metric] = _Mean(metric, protocol, subject, feature)
    if open_columns:
        try:
            for x, y in _pairs(protocol, subject):
                for metric, column in open_columns.items():
                    column.add(prepared(x, protocol, metric), prepared(y, protocol, metric))
        except Unmeasurable as reason:
            return found | {metric: Measured(metrics[metric].missing(str(reason))) for metric in open_columns}
    return found | {metric: column.measured(metrics[metric]) for metric, column in open_columns.items()}


def _pairs(protocol: Protocol, subject: ProtocolMeasured) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of originals and reconstructions, before they are clamped and rounded for a metric."""
    draws = generator(subject.seed, "measure", "posterior sample")
    for x in _originals(subject.sources.test, protocol, subject, subject.progress):
        y = _reconstructed(x, protocol, subject, draws)
        if not y.isfinite().all():
            raise Unmeasurable("reconstructions hold values that are not finite")
        yield x, y


def _reconstructed(x: Tensor, protocol: Protocol, subject: ProtocolMeasured, draws: Generator) -> Tensor:
    if isinstance(subject.model, ImageCodec):
        return subject.model.decompress(subject.model.compress(x))
    posterior = subject.model.encode(x.to(subject.device)).map(lambda values: values.float().cpu())
    z = posterior.mean if protocol.code == "mean" else posterior.rsample(generator=draws)
    return subject.model.decode(z.to(subject.device)).float().cpu()


def _originals(
    source: ImageSource, protocol: Protocol, subject: ProtocolMeasured, progress: Progress | None = None
) -> Iterator[Tensor]:
    sides = subject.size or source.open(0).height
    count = batch_size((subject.channels, sides, sides))
    return batches(source, protocol, subject.size, subject.channels, count, progress)


def prepared(images: Tensor, protocol: Protocol, metric: MetricName) -> Tensor:
    """Clamp and round images in [0, 1] as a protocol does for a metric."""
    if metric in protocol.clamped:
        images = images.clamp(0, 1)
    if metric not in protocol.rounded:
        return images
    levels = (images * 255).clamp(0, 255)
    return (levels.round() if protocol.rounding == "nearest" else levels.floor()) / 255


class _Column(ABC):
    """The values that a metric keeps from the batches of a pass."""

    @abstractmethod
    def add(self, x: Tensor, y: Tensor) -> None:
        """Add originals and reconstructions, as the metric sees them. May raise Unmeasurable."""

    @abstractmethod
    def measured(self, found: MetricDefinition) -> Measured:
        """Return the metric of all images."""


class _Mean(_Column):
    """A metric that is a mean over images."""

    def __init__(
        self, metric: MetricName, protocol: Protocol, subject: ProtocolMeasured, network: Feature | None
    ) -> None:
        self._metric, self._protocol, self._subject, self._network = metric, protocol, subject, network
        self._values: list[Tensor] = []
        self._problem: str | None = None

    @override
    def add(self, x: Tensor, y: Tensor) -> None:
        if self._protocol.pixels_read_as == "[-1, 1]":
            # As if -1 were black: a script that maps [−1, 1] to [0, 1] does it twice.
            x, y = (x + 1) / 2, (y + 1) / 2
        try:
            self._values.append(self._each(x, y))
        except Unmeasurable as reason:
            self._problem = str(reason)

    def _each(self, x: Tensor, y: Tensor) -> Tensor:
        if self._metric == "psnr":
            return decibels((x - y).double().square().flatten(1).mean(1))
        if self._metric == "ssim":
            return _ssim(x.double(), y.double(), self._protocol)
        assert isinstance(self._network, Distance)
        if min(x.shape[2:]) < self._network.smallest_side:
            raise Unmeasurable(f"images are smaller than {self._network.smallest_side} px")
        return self._network.between(x, y, device=self._subject.device)

    @override
    def measured(self, found: MetricDefinition) -> Measured:
        if self._problem is not None:
            return Measured(found.missing(self._problem))
        values = torch.cat(self._values)
        if exact := int(values.isinf().sum()):
            reason = f"infinite: {exact} of {len(values)} images are reconstructed exactly"
            return Measured(found.missing(reason, n=len(values)))
        mean = found.mean(values)
        if self._metric not in self._protocol.averaged_by_batch or mean.value is None:
            return Measured(mean, values)
        by_batch = [batch.double().mean().item() for batch in values.split(self._protocol.batch)]
        return Measured(replace(mean, value=math.fsum(by_batch) / len(by_batch)))


class _SetDistance(_Column):
    """The Fréchet distance between all reconstructions and the reference set."""

    def __init__(self, protocol: Protocol, subject: ProtocolMeasured, extractor: Extractor) -> None:
        self._protocol, self._subject, self._extractor = protocol, subject, extractor
        self._sums: list[tuple[FeatureSums, FeatureSums]] = []
        self._count = 0

    @override
    def add(self, x: Tensor, y: Tensor) -> None:
        found = self._of(x, self._count), self._of(y, self._count)
        self._sums = [(self._sums[0][0] + found[0], self._sums[0][1] + found[1])] if self._sums else [found]
        self._count += len(x)

    def _of(self, images: Tensor, first: int) -> FeatureSums:
        protocol, device = self._protocol, self._subject.device
        if protocol.extractor_input == "torch-fidelity" and "rfid" in protocol.rounded:
            features = self._extractor.features(images, device=device)
        else:
            features = inception.features_of_floats(
                self._extractor,
                images,
                as_pytorch_fid=protocol.extractor_input == "pytorch-fid",
                device=device,
            )
        return FeatureSums.of(features, first)

    @override
    def measured(self, found: MetricDefinition) -> Measured:
        if self._count < 2:
            return Measured(found.missing("fewer than 2 images", n=self._count))
        ((originals, others),) = self._sums
        if self._protocol.reference == "originals":
            value, error = frechet_of_pairs(originals, others)
        elif self._subject.sources.train is None:
            return Measured(found.missing("the data have no train images", n=self._count))
        else:
            value, error = frechet_to_fixed(self._of_train(self._subject.sources.train), others)
        return Measured(found.measured(value, se=error, n=self._count, common_se=error))

    def _of_train(self, source: ImageSource) -> FeatureSums:
        parts, first = [], 0
        for x in _originals(source, self._protocol, self._subject):
            parts.append(self._of(prepared(x, self._protocol, "rfid"), first))
            first += len(x)
        return reduce(add, parts)


def _ssim(x: Tensor, y: Tensor, protocol: Protocol) -> Tensor:
    uniform = protocol.ssim_window == "uniform 7"
    taps = UNIFORM_TAPS if uniform else SSIM_TAPS
    if min(x.shape[2:]) < taps:
        raise Unmeasurable(f"images are smaller than the window of {taps} px")
    span = 1.0
    if protocol.ssim_pixels == "[-1, 1]":
        x, y, span = 2 * x - 1, 2 * y - 1, 2.0
    data_range = torch.tensor(span)
    if protocol.ssim_range == "of the values":
        data_range = torch.stack(
            [image.flatten(1).amax(1) - image.flatten(1).amin(1) for image in (x, y)]
        ).amax(0)
    if protocol.ssim_border == "reflected":
        x, y = (F.pad(image, [taps // 2] * 4, mode="reflect") for image in (x, y))
    return structural_similarity(x, y, data_range=data_range.double(), uniform=uniform)
