"""Published reconstructions by autoencoders of photographs: rFID, PSNR, SSIM and LPIPS."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import resources

from latentbench.analysis.core.metric import Metric, MetricDefinition
from latentbench.analysis.features.request import parse_all
from latentbench.analysis.protocols.explain import requests_of
from latentbench.analysis.protocols.measured import definition, measure_all_under
from latentbench.analysis.protocols.protocol import METRICS, PROTOCOLS
from latentbench.bench.reproduce.published import ALL_IMAGES, ROW_SETS, Reproducible, Row, RowRequest, RowSet
from latentbench.bench.reproduce.subject import open_subject
from latentbench.data.errors import DataError
from latentbench.data.text.validation import validated
from latentbench.data.text.yaml_text import parse_yaml

FILE = "tokenizers.yaml"


def _read(name: str) -> Reproducible:
    text = (resources.files(__package__) / FILE).read_text(encoding="utf-8")
    rows = validated(RowSet, parse_yaml(text, FILE)[name], f"{FILE}, {name}")
    return Reproducible(rows, define, measure)


def define(rows: RowSet, metric: str) -> MetricDefinition:
    """Return the definition of a metric by its name, under the protocol of its table."""
    chosen = next(each for each in METRICS if each == metric)
    return definition(chosen, PROTOCOLS[rows.protocol])


def measure(rows: RowSet, row: Row, request: RowRequest) -> Mapping[str, Metric]:
    """Measure the metrics of a row by the protocol of its table, on a user's copy of the images."""
    protocol = PROTOCOLS[rows.protocol]
    metrics = [metric for metric in METRICS if metric in row.values]
    given = parse_all(request.features)
    requests = dict.fromkeys(each for metric in metrics for each in requests_of((protocol,), metric, given))
    subject = open_subject(
        row.model,
        request.data,
        list(requests),
        device=request.device,
        allow_pickle=request.allow_pickle,
        reporter=request.reporter,
    )
    if subject.size != rows.size:
        raise DataError(
            f"--data {request.data}: {rows.title} is of images of {rows.size} px, and these have "
            f"{subject.size or 'their own size'}; add size={rows.size}"
        )
    if (count := len(subject.sources.test)) < rows.images:
        request.reporter.note(
            f"{count:,} images, not {rows.images:,}: there will be no verdict; {ALL_IMAGES}"
        )
    found = measure_all_under(protocol, {each: definition(each, protocol) for each in metrics}, subject)
    return {metric: found[metric].metric for metric in metrics}


for _name in ("coco-2017-256", "imagenet-512"):
    ROW_SETS.register(_name)(partial(_read, _name))
