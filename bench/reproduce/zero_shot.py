"""Published zero-shot accuracies of open_clip's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from latentbench.analysis.catalogue import ANALYSES, METRICS
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.core.metric import Metric
from latentbench.analysis.core.subject import Subject
from latentbench.bench.reproduce.published import ROW_SETS, Reproducible, Row, RowRequest, RowSet
from latentbench.bench.reproduce.subject import SILENT, Reporter, opened
from latentbench.data.errors import DataError, LatentbenchError
from latentbench.data.loading import DATASETS, request_for_words
from latentbench.data.reading.prompted import PromptedImageData
from latentbench.data.request import parse as parse_data
from latentbench.data.text.validation import validated
from latentbench.data.text.yaml_text import parse_yaml
from latentbench.models.protocols import ImageTextModel
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, resolve, train_or_load

FILE = "zero_shot.yaml"


def _content() -> Mapping[str, object]:
    content = parse_yaml((resources.files(__package__) / FILE).read_text(encoding="utf-8"), FILE)
    assert isinstance(content, dict)
    return content


def _read(name: str) -> Reproducible:
    rows = validated(RowSet, _content()[name], f"{FILE}, {name}")
    return Reproducible(rows, lambda _, metric: METRICS[metric], measure)


def measure(rows: RowSet, row: Row, request: RowRequest) -> Mapping[str, Metric]:
    """Measure the accuracies of a row on a user's copy of the images, with the prompts next to them."""
    del rows
    data, model = open_model(
        row.model,
        request.data,
        device=request.device,
        allow_pickle=request.allow_pickle,
        reporter=request.reporter,
    )
    measured = ANALYSES["prompts"].measure(
        Subject(model, DataContext(data, device=find_device(request.device)), seed=0)
    )
    return {metric.name: metric for metric in measured.metrics if metric.name in row.values}


def open_model(
    entry: Mapping[str, Any], given: str, *, device: str, allow_pickle: bool, reporter: Reporter = SILENT
) -> tuple[PromptedImageData, ImageTextModel]:
    """Open images with their prompts, and load an image–text model of one entry of a suite.

    Raises DataError for images without prompts or with options that nothing uses, and errors as a suite does.
    """
    wanted = parse_data(given, list(DATASETS), "--data")
    data = opened(request_for_words(wanted), reporter)
    if not isinstance(data, PromptedImageData):
        raise DataError(
            f"--data {given}: zero-shot accuracy needs class names and templates next to the images: a "
            "folder with classes.txt and templates.txt, tar files as CLIP_benchmark builds them, or hf: data "
            "with class labels"
        )
    place = find_device(device)
    spec = resolve(model_spec(**entry), data, Resolver(Path(), allow_pickle))
    model = train_or_load(Training(spec, Recipe(), 0), data, device=place).model.to(place).eval()
    if not isinstance(model, ImageTextModel):
        raise LatentbenchError(f"--model: {spec.label} has no text encoder, so it recognises nothing by name")
    return data, model


for _name in ("imagenet-zero-shot", "cifar10-zero-shot", "cifar100-zero-shot", "mnist-zero-shot"):
    ROW_SETS.register(_name)(partial(_read, _name))
