"""The context of a worker process: how it opens the data, the judges and the features, here or elsewhere."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from latentbench import data as datasets
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.features.extractors import Absent, ByProtocol, Feature, Network
from latentbench.analysis.features.extractors import load as load_feature
from latentbench.analysis.features.judge import Judge
from latentbench.analysis.features.request import FeatureRequest
from latentbench.data.errors import DataError, LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.reading.pixel_file import MappedSplit
from latentbench.data.request import DataRequest
from latentbench.models.resolver import Resolver

SMALL_BYTES = 64_000_000
"""Data in memory up to this size go through Ray's object store; each worker opens larger ones itself."""


def data_opener(data: ImageData, request: DataRequest, folder: Path) -> Callable[[], ImageData]:
    """Return how a worker process gets the data: it maps the file that holds them, or reads them again."""
    if isinstance(data.test, MappedSplit):
        return partial(pickle.loads, pickle.dumps(data))
    return partial(datasets.load, request, relative_to=folder)


def open_context(
    open_data: Callable[[], ImageData],
    device: str,
    *,
    judged: bool,
    open_features: Callable[[], tuple[Feature, ...]] = tuple,
) -> DataContext:
    """Open the data, and load their judges and features if an analysis needs them. Once per process."""
    return DataContext.of(open_data(), torch.device(device), judged=judged, features=open_features())


def features_opener(
    loaded: Sequence[Network],
    requests: Sequence[FeatureRequest],
    resolver: Resolver,
    protocols: Sequence[ByProtocol] = (),
) -> Callable[[], tuple[Feature, ...]]:
    """Return how a worker process gets features: it loads them, but does not seek absent weights again."""
    known = [each if isinstance(each, Absent) else each.sha256 for each in loaded]
    return partial(_open_features, known, requests, resolver, protocols)


def _open_features(
    known: Sequence[Absent | str],
    requests: Sequence[FeatureRequest],
    resolver: Resolver,
    protocols: Sequence[ByProtocol],
) -> tuple[Feature, ...]:
    """Load features. Raises LatentbenchError for other weights than those that the run was started with."""
    found: list[Feature] = []
    for expected, request in zip(known, requests, strict=True):
        feature = expected if isinstance(expected, Absent) else load_feature(request, resolver)
        if not isinstance(expected, Absent) and feature.sha256 != expected:
            raise LatentbenchError(f"{request}: the weights here are not those where the run was started")
        found.append(feature)
    return (*found, *protocols)


def remote_context(
    data: ImageData,
    request: DataRequest,
    folder: Path,
    judges: tuple[Judge, ...],
    device: str,
    engine: str,
    open_features: Callable[[], tuple[Feature, ...]] = tuple,
) -> Callable[[], DataContext]:
    """Return how a remote worker gets its context."""
    size = sum(split.images.numel() for split in (data.train, data.test))
    travels = engine == "ray" and size <= SMALL_BYTES and not isinstance(data.test, MappedSplit)
    open_data = partial(_given, data) if travels else partial(_opened, request, folder, data.fingerprint)
    movable = tuple(replace(judge, network=judge.network.cpu()) for judge in judges)
    return partial(_context, open_data, movable, device, open_features)


def _given(data: ImageData) -> ImageData:
    return data


def _opened(request: DataRequest, folder: Path, fingerprint: str) -> ImageData:
    """Load the data on this machine. Raises DataError if they are missing, or are not those of the driver."""
    data = datasets.load(request, relative_to=folder, mapped=True)
    if data.fingerprint != fingerprint:
        raise DataError(
            f"data {data.name}: the content has the fingerprint {data.fingerprint[:12]} here and "
            f"{fingerprint[:12]} where the run was started; every node must see the same images"
        )
    return data


def _context(
    open_data: Callable[[], ImageData],
    judges: tuple[Judge, ...],
    device: str,
    open_features: Callable[[], tuple[Feature, ...]],
) -> DataContext:
    return DataContext(open_data(), judges, find_device(device), open_features())
