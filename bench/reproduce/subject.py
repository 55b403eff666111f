"""A model and images as the commands `explain` and `reproduce` are given them, ready to be measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from latentbench import data as datasets
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.features.extractors import load
from latentbench.analysis.features.request import FeatureRequest
from latentbench.analysis.protocols.measured import ProtocolMeasured
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.loading import DATASETS, open_sources
from latentbench.data.reading.decoding import Progress
from latentbench.data.request import DataRequest
from latentbench.data.request import parse as parse_data
from latentbench.data.text.yaml_text import parse_yaml
from latentbench.models.protocols import Autoencoder, ImageCodec
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, resolve, train_or_load


def _shown_nowhere(*_: object) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Reporter:
    """Shows the progress of what takes long, and notes such as which images are left out."""

    progress: Progress = _shown_nowhere
    note: Callable[[str], None] = _shown_nowhere


SILENT = Reporter()


def opened(request: DataRequest, reporter: Reporter, folder: Path = Path()) -> ImageData:
    """Load the images of a request, and show the progress and the notes."""
    data = datasets.load(request, relative_to=folder, progress=reporter.progress)
    for note in data.notes:
        reporter.note(note)
    return data


def open_subject(
    model: str | dict[str, Any],
    data: str,
    requests: Sequence[FeatureRequest],
    *,
    device: str = "auto",
    allow_pickle: bool = False,
    folder: Path = Path(),
    reporter: Reporter = SILENT,
) -> ProtocolMeasured:
    """Train or load a model of one entry of a suite, and open the images at their original size.

    Raises LatentbenchError for a model that cannot decode, and as a suite does.
    """
    entry = parse_yaml(model, "--model") if isinstance(model, str) else dict(model)
    if not isinstance(entry, dict):
        raise LatentbenchError(
            f"--model {model!r}: must be a mapping, such as {{family: ae, latent_dim: 16}}"
        )
    recipe = Recipe(**entry.pop("recipe", {}))
    place, resolver = find_device(device), Resolver(folder, allow_pickle)
    request = parse_data(data, list(DATASETS), "--data")
    images = opened(request, reporter, folder)
    spec = resolve(model_spec(**entry), images, resolver)
    training = partial(reporter.progress, "training")
    loaded = train_or_load(Training(spec, recipe, 0), images, device=place, progress=training)
    trained = loaded.model.to(place).eval()
    if not isinstance(trained, Autoencoder | ImageCodec):
        raise LatentbenchError(f"--model: {spec.label} has no decoder, so it reconstructs nothing")
    return ProtocolMeasured(
        trained,
        open_sources(request, relative_to=folder),
        None if request.name is not None else images.image_shape[-1],
        images.image_shape[0],
        {each.name: load(each, resolver) for each in requests},
        place,
        progress=reporter.progress,
    )
