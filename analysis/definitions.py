"""The definitions of metrics, for commands that only read results and should not wait for torch.

Metrics are defined next to their formulas, in modules that import torch. So the definitions are also stored
in latentbench's cache, under a hash of the names, sizes and times of those modules' files.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from latentbench.analysis.core.metric import MetricDefinition, base_name, in_features
from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown
from latentbench.data.storage.cache import CacheError, cache_root, read_sealed, write_sealed
from latentbench.models.spec import REFERENCE, Display


@dataclass(frozen=True)
class AnalysisDefinition:
    """The metrics and properties of an analysis, without the code that measures them."""

    metrics: tuple[MetricDefinition, ...]
    exclusive: bool
    """True if it needs the machine to itself, as a timing does."""
    opt_in: bool
    """True if a suite runs it only if it names it."""


@dataclass(frozen=True)
class Definitions:
    """Definitions available without torch: those of results in the order of the tables, and data sets."""

    metrics: Mapping[str, MetricDefinition]
    analyses: Mapping[str, AnalysisDefinition]
    families: Mapping[str, Display]
    datasets: Mapping[str, str]
    """The description of each data set that is known by name, also as `torchvision:NAME`."""


@cache
def definitions() -> Definitions:
    """Return every metric, family and data set, from the cache if it has those of this code."""
    found = _stored()
    if found is None and "torch" not in sys.modules:
        # Half a gigabyte of libraries would otherwise stay in the memory of a command that only reads.
        code = f"from {__name__} import store; store()"
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        found = _stored()
    return found or store()


def _stored() -> Definitions | None:
    with suppress(LatentbenchError, ValueError, TypeError, KeyError):
        return _from_json(json.loads(read_sealed(_file())))
    return None


def store() -> Definitions:
    """Import the modules that define, put the definitions into the cache if it has room, and return them."""
    from latentbench.analysis.catalogue import ANALYSES, METRICS
    from latentbench.data.loading import DATASETS
    from latentbench.data.sources.named_sets.published_sets import PUBLISHED
    from latentbench.models.zoo import FAMILIES

    datasets = {name: entry.description for name, entry in DATASETS.items()}
    datasets |= {f"torchvision:{name}": entry.description for name, entry in PUBLISHED.items()}
    analyses = {
        name: AnalysisDefinition(each.metrics, each.exclusive, each.opt_in) for name, each in ANALYSES.items()
    }
    families = {name: family.display for name, family in FAMILIES.items()}
    found = Definitions(dict(METRICS.items()), analyses, families, datasets)
    with suppress(CacheError):
        write_sealed(_file(), json.dumps(asdict(found)).encode())
    return found


@cache
def display_of(family: str) -> Display:
    """Return how a family is shown; a default for one that this installation does not know."""
    if family in definitions().families:
        return definitions().families[family]
    if family == REFERENCE:
        return Display()
    from latentbench.models.family import FAMILIES, load_installed_families

    load_installed_families()
    return FAMILIES[family].display if family in FAMILIES else Display()


def _from_json(content: dict[str, Any]) -> Definitions:
    return Definitions(
        {name: MetricDefinition(**metric) for name, metric in content["metrics"].items()},
        {
            name: AnalysisDefinition(
                tuple(MetricDefinition(**metric) for metric in each["metrics"]),
                each["exclusive"],
                each["opt_in"],
            )
            for name, each in content["analyses"].items()
        },
        {name: Display(**display) for name, display in content["families"].items()},
        content["datasets"],
    )


def definition_of(metric: str) -> MetricDefinition:
    """Return the definition of a metric. Raises LatentbenchError for an unknown name."""
    found = known(metric)
    if found is None:
        error: LatentbenchError = unknown("metric", metric, list(definitions().metrics))
        raise error
    return found


def known(metric: str) -> MetricDefinition | None:
    """Return the definition of a metric; None for an unknown name."""
    return in_features(definitions().metrics, metric)


def ordered(names: Iterable[str]) -> list[MetricDefinition]:
    """Return the definitions of the names that are known, in the order of the tables.

    A metric in several features has these in the order in which they are first named.
    """
    metrics = definitions().metrics
    order = {name: position for position, name in enumerate(metrics)}
    found = {name: definition for name in names if (definition := in_features(metrics, name)) is not None}
    return [found[name] for name in sorted(found, key=lambda name: order[base_name(name)])]


def _file() -> Path:
    return cache_root() / "definitions" / f"{_version()}.sealed"


def _version() -> str:
    root = Path(__file__).resolve().parent.parent
    files = [
        file for layer in ("data", "models", "analysis") for file in sorted((root / layer).rglob("*.py"))
    ]
    content = [(str(file), about.st_size, about.st_mtime_ns) for file in files for about in [file.stat()]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
