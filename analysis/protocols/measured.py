"""The reconstruction metrics of a model under any protocol, in one pass over the images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from latentbench.analysis.core.data_context import batch_size
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable
from latentbench.analysis.features import inception
from latentbench.analysis.features.extractors import Absent, Distance, Extractor, Feature
from latentbench.analysis.fidelity.feature_frechet import frechet_of_pairs, frechet_to_fixed
from latentbench.analysis.generation.feature_distances import LPIPS, RFID
from latentbench.analysis.image_similarity import SSIM_TAPS, UNIFORM_TAPS, decibels, structural_similarity
from latentbench.analysis.protocols.pictures import batches
from latentbench.analysis.protocols.protocol import MetricName, Protocol
from latentbench.analysis.reconstruction import PSNR, SSIM
from latentbench.analysis.statistics.feature_sums import FeatureSums
from latentbench.data.reading.image_source import ImageSource, Sources
from latentbench.models.protocols import Autoencoder, ImageCodec
from latentbench.models.seeds import generator


@dataclass(frozen=True)
class ProtocolMeasured:
    """What is measured: a model on images at their original size.

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


DEFINITIONS: dict[MetricName, MetricDefinition] = {"psnr": PSNR, "ssim": SSIM, "lpips": LPIPS, "rfid": RFID}


def definition(metric: MetricName, protocol: Protocol) -> MetricDefinition:
    """Return the definition of a metric, with the network that a protocol uses for it."""
    network = network_of(metric, protocol)
    return DEFINITIONS[metric] if network is None else DEFINITIONS[metric].of(network)


def network_of(metric: MetricName, protocol: Protocol) -> str | None:
    """Return the name of the network that a metric needs; None if it needs none."""
    return {"lpips": f"lpips:{protocol.lpips_network}", "rfid": protocol.extractor}.get(metric)


@torch.inference_mode()
def measure_under(protocol: Protocol, metric: MetricName, subject: ProtocolMeasured) -> Metric:
    """Measure one metric of the test images by a protocol."""
    found, network = definition(metric, protocol), network_of(metric, protocol)
    feature = None if network is None else subject.features[network]
    if isinstance(feature, Absent):
        return found.missing(feature.reason)
    try:
        if isinstance(feature, Extractor):
            return _set_distance(found, protocol, subject, feature)
        return _mean(found, protocol, metric, _values(protocol, metric, subject, feature))
    except Unmeasurable as reason:
        return found.missing(str(reason))


def _pairs(
    protocol: Protocol, metric: MetricName, subject: ProtocolMeasured
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of originals and reconstructions as a metric sees them, before `pixels_read_as`."""
    draws = generator(subject.seed, "measure", "posterior sample")
    for x in _originals(subject.sources.test, protocol, subject):
        y = _reconstructed(x, protocol, subject, draws)
        if not y.isfinite().all():
            raise Unmeasurable("reconstructions hold values that are not finite")
        yield prepared(x, protocol, metric), prepared(y, protocol, metric)


def _reconstructed(x: Tensor, protocol: Protocol, subject: ProtocolMeasured, draws: Generator) -> Tensor:
    if isinstance(subject.model, ImageCodec):
        return subject.model.decompress(subject.model.compress(x))
    posterior = subject.model.encode(x.to(subject.device)).map(lambda values: values.float().cpu())
    z = posterior.mean if protocol.code == "mean" else posterior.rsample(generator=draws)
    return subject.model.decode(z.to(subject.device)).float().cpu()


def _originals(source: ImageSource, protocol: Protocol, subject: ProtocolMeasured) -> Iterator[Tensor]:
    sides = subject.size or source.open(0).height
    count = batch_size((subject.channels, sides, sides))
    return batches(source, protocol, subject.size, subject.channels, count)


def prepared(images: Tensor, protocol: Protocol, metric: MetricName) -> Tensor:
    """Clamp and round images in [0, 1] as a protocol does for a metric."""
    if metric in protocol.clamped:
        images = images.clamp(0, 1)
    if metric not in protocol.rounded:
        return images
    levels = (images * 255).clamp(0, 255)
    return (levels.round() if protocol.rounding == "nearest" else levels.floor()) / 255


def _values(
    protocol: Protocol, metric: MetricName, subject: ProtocolMeasured, distance: Feature | None
) -> Tensor:
    """Compute a metric of each image, `[N]`."""
    found = []
    for x, y in _pairs(protocol, metric, subject):
        if protocol.pixels_read_as == "[-1, 1]":
            # As if -1 were black: a script that maps [−1, 1] to [0, 1] does it twice.
            x, y = (x + 1) / 2, (y + 1) / 2
        if metric == "psnr":
            found.append(decibels((x - y).double().square().flatten(1).mean(1)))
        elif metric == "ssim":
            found.append(_ssim(x.double(), y.double(), protocol))
        elif isinstance(distance, Distance):
            if min(x.shape[2:]) < distance.smallest_side:
                raise Unmeasurable(f"images are smaller than {distance.smallest_side} px")
            found.append(distance.between(x, y, device=subject.device))
    return torch.cat(found)


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


def _mean(found: MetricDefinition, protocol: Protocol, metric: MetricName, values: Tensor) -> Metric:
    mean = found.mean(values)
    if metric in protocol.averaged_by_batch and mean.value is not None:
        by_batch = [batch.double().mean().item() for batch in values.split(protocol.batch)]
        return replace(mean, value=math.fsum(by_batch) / len(by_batch))
    return mean


def _set_distance(
    found: MetricDefinition, protocol: Protocol, subject: ProtocolMeasured, extractor: Extractor
) -> Metric:
    """Measure the Fréchet distance between all reconstructions and the reference set."""
    pairs, count = [], 0
    for x, y in _pairs(protocol, "rfid", subject):
        pairs.append([_sums(each, protocol, extractor, count, subject) for each in (x, y)])
        count += len(x)
    if count < 2:
        return found.missing("fewer than 2 images", n=count)
    originals, others = (_added(list(sums)) for sums in zip(*pairs, strict=True))
    if protocol.reference == "originals":
        value, error = frechet_of_pairs(originals, others)
        return found.measured(value, se=error, n=count, common_se=error)
    if subject.sources.train is None:
        return found.missing("the data have no train images", n=count)
    parts, first = [], 0
    for x in _originals(subject.sources.train, protocol, subject):
        parts.append(_sums(prepared(x, protocol, "rfid"), protocol, extractor, first, subject))
        first += len(x)
    value, error = frechet_to_fixed(_added(parts), others)
    return found.measured(value, se=error, n=count, common_se=error)


def _sums(
    images: Tensor, protocol: Protocol, extractor: Extractor, first: int, subject: ProtocolMeasured
) -> FeatureSums:
    if protocol.extractor_input == "torch-fidelity" and "rfid" in protocol.rounded:
        features = extractor.features(images, device=subject.device)
    else:
        features = inception.features_of_floats(
            extractor, images, as_pytorch_fid=protocol.extractor_input == "pytorch-fid", device=subject.device
        )
    return FeatureSums.of(features, first)


def _added(parts: list[FeatureSums]) -> FeatureSums:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
