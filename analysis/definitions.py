"""The definitions of metrics, for commands that only read results and should not wait for torch.

Metrics are defined next to their formulas, in modules that import torch. So the definitions are also stored
in latentbench's cache, under a hash of the names, sizes and times of those modules' files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from latentbench.analysis.core.metric import MetricDefinition, base_name, in_features
from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown
from latentbench.data.storage.cache import CacheError, cache_root, read_sealed, write_sealed


@dataclass(frozen=True)
class Definitions:
    """Definitions available without torch: metrics and families in the order of the tables, and data sets."""

    metrics: Mapping[str, MetricDefinition]
    families: tuple[str, ...]
    datasets: Mapping[str, str]
    """The description of each data set that is known by name."""


@cache
def definitions() -> Definitions:
    """Return every metric, family and data set, from the cache if it has those of this code."""
    file = cache_root() / "definitions" / f"{_version()}.sealed"
    try:
        content = json.loads(read_sealed(file))
        metrics = {each["name"]: MetricDefinition(**each) for each in content["metrics"]}
        return Definitions(metrics, tuple(content["families"]), content["datasets"])
    except (LatentbenchError, ValueError, TypeError, KeyError):
        pass
    from latentbench.analysis.catalogue import METRICS
    from latentbench.data.loading import DATASETS
    from latentbench.models.zoo import FAMILIES

    datasets = {name: entry.description for name, entry in DATASETS.items()}
    found = Definitions(dict(METRICS.items()), tuple(FAMILIES), datasets)
    content = {
        "metrics": [asdict(metric) for metric in found.metrics.values()],
        "families": found.families,
        "datasets": datasets,
    }
    with suppress(CacheError):
        write_sealed(file, json.dumps(content).encode())
    return found


def definition_of(metric: str) -> MetricDefinition:
    """Return the definition of a metric. Raises LatentbenchError for an unknown name."""
    metrics = definitions().metrics
    found = in_features(metrics, metric)
    if found is None:
        error: LatentbenchError = unknown("metric", metric, list(metrics))
        raise error
    return found


def ordered(names: Iterable[str]) -> list[MetricDefinition]:
    """Return the definitions of the names that are known, in the order of the tables.

    A metric in several features has these in the order in which they are first named.
    """
    metrics = definitions().metrics
    order = {name: position for position, name in enumerate(metrics)}
    found = {name: definition for name in names if (definition := in_features(metrics, name)) is not None}
    return [found[name] for name in sorted(found, key=lambda name: order[base_name(name)])]


def _version() -> str:
    root = Path(__file__).resolve().parent.parent
    files = [
        file for layer in ("data", "models", "analysis") for file in sorted((root / layer).rglob("*.py"))
    ]
    content = [(str(file), about.st_size, about.st_mtime_ns) for file in files for about in [file.stat()]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
