"""The analysis `protocols`: reconstructions measured as evaluation scripts of others would measure them.

A suite names the protocols: `protocol: [va-vae, dc-ae]`. Each metric is measured once for each of them and
has its name in brackets. The networks of LPIPS and rFID are those that the suite names in `features`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_DECODER, Subject
from latentbench.analysis.features.extractors import Absent, ByProtocol, Feature
from latentbench.analysis.features.request import under_protocol
from latentbench.analysis.protocols.measured import ProtocolMeasured, measure_all_under
from latentbench.analysis.protocols.protocol import (
    METRICS,
    PROTOCOLS,
    UNDER,
    MetricName,
    Protocol,
    network_of,
)
from latentbench.analysis.protocols.scaled_images import scales_as
from latentbench.data.errors import LatentbenchError
from latentbench.data.loading import open_sources
from latentbench.data.reading.image_source import ArraySource, Sources
from latentbench.data.reading.prompted import CompleteImageData
from latentbench.data.request import DataRequest
from latentbench.models.protocols import Autoencoder, ImageCodec

NO_PROTOCOLS = "no protocols: a suite names them, as in protocol: va-vae"
OF_PROTOCOLS = "protocols"

DEFINITIONS: dict[MetricName, MetricDefinition] = {
    "psnr": define(
        f"{UNDER}psnr",
        unit="dB",
        better="higher",
        title="Peak signal-to-noise ratio of reconstructions, by an evaluation protocol.",
        heading="PSNR",
        headline=True,
        decimals=2,
        per="protocol",
    ),
    "ssim": define(
        f"{UNDER}ssim",
        better="higher",
        title="Structural similarity of reconstructions, by an evaluation protocol.",
        heading="SSIM",
        headline=True,
        per="protocol",
    ),
    "lpips": define(
        f"{UNDER}lpips",
        better="lower",
        title="Learned perceptual distance of reconstructions, by an evaluation protocol.",
        heading="LPIPS",
        headline=True,
        per="protocol",
    ),
    "rfid": define(
        f"{UNDER}rfid",
        better="lower",
        title="Fréchet distance of reconstructions to the reference set of an evaluation protocol.",
        heading="rFID",
        decimals=2,
        headline=True,
        per="protocol",
    ),
}


def requested(names: Iterable[str], data: DataRequest, folder: Path) -> tuple[ByProtocol, ...]:
    """Return protocols by name, with the way to open the images of a suite at their original size."""
    open_images = partial(open_sources, data, relative_to=folder)
    return tuple(
        ByProtocol(
            under_protocol(name),
            PROTOCOLS[name].sha256,
            open_images,
            scales_as(PROTOCOLS[name], data.crop, data.resize),
        )
        for name in names
    )


@analysis(OF_PROTOCOLS, list(DEFINITIONS.values()), opt_in=True, passes=())
def by_protocols(subject: Subject) -> Measurement:
    """Measure PSNR, SSIM, LPIPS and rFID of test images under each protocol, from the original images on."""
    protocols = subject.context.protocols
    if not protocols:
        raise LatentbenchError(NO_PROTOCOLS)
    if not isinstance(subject.model, Autoencoder | ImageCodec):
        raise Unmeasurable(NO_DECODER)
    found: dict[str, dict[str, Metric]] = {metric: {} for metric in METRICS}
    examples = {}
    for each in protocols:
        protocol = PROTOCOLS[each.protocol]
        definitions = {metric: DEFINITIONS[metric].of(each.name) for metric in METRICS}
        measured = measure_all_under(protocol, definitions, _measured(subject, protocol, each))
        for metric, result in measured.items():
            found[metric][each.name] = result.metric
            if result.examples is not None:
                examples[result.metric.name] = result.examples.numpy()
    metrics = tuple(metric for by_protocol in found.values() for metric in by_protocol.values())
    return Measurement(metrics, examples=examples)


def _measured(subject: Subject, protocol: Protocol, request: ByProtocol) -> ProtocolMeasured:
    assert isinstance(subject.model, Autoencoder | ImageCodec)
    context, (channels, side, _) = subject.context, subject.data.image_shape
    networks: dict[str, Feature] = {network.name: network for network in context.networks}
    for metric in METRICS:
        name = network_of(metric, protocol)
        if name is not None and name not in networks:
            reason = f"{request.protocol} needs {name}, which the suite does not name in its key features"
            networks[name] = Absent(name, reason)
    sources = context.once(_as_loaded if request.scales_as_loaded else _originals)
    return ProtocolMeasured(subject.model, sources, side, channels, networks, context.device, subject.seed)


def _originals(context: DataContext) -> Sources:
    """Return the images at their original size, which all models on one data set share."""
    return context.protocols[0].open_images()


def _as_loaded(context: DataContext) -> Sources:
    """Return the images that were scaled when the data were loaded, so that nothing is decoded again."""
    data = context.data
    if isinstance(data, CompleteImageData) and data.unreadable:  # these are black
        return context.once(_originals)
    return Sources(None if data.test_only else ArraySource(data.train, ()), ArraySource(data.test, ()))
