"""Suites: YAML files that define models, data, recipes and analyses.

In `models`, a list stands for one model each: `latent_dim: [2, 16]` with `beta: [1, 4]` is four models.
The file is long because every key of a suite is declared and checked here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.features.request import FeatureRequest
from latentbench.analysis.features.request import parse_all as parse_features
from latentbench.analysis.generation.feature_distances import OF_FEATURES
from latentbench.analysis.protocols.by_protocol import OF_PROTOCOLS
from latentbench.analysis.protocols.protocol import PROTOCOLS
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.executors.settings import parse as parse_executor
from latentbench.bench.store.store import check_suite_name
from latentbench.bench.text import shipped
from latentbench.bench.text.seeds import Seeds
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.loading import DATASETS
from latentbench.data.registry import unknown
from latentbench.data.request import DataRequest
from latentbench.data.request import parse as parse_data
from latentbench.data.storage.files import read_text
from latentbench.data.text.validation import validated
from latentbench.data.text.yaml_text import parse_yaml
from latentbench.models.resolver import Resolver
from latentbench.models.spec import ModelSpec
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import model_spec, resolve


@dataclass(frozen=True)
class SuiteEntry:
    """One model of a suite with its recipe, and its place in the file."""

    spec: ModelSpec
    recipe: Recipe
    where: str


def _as_list(value: object) -> object:
    """Return a single name as a list of one."""
    return [value] if isinstance(value, str) else value


MOST_DATA = 100
"""The highest number of data sets of a suite."""


def _listed(given: object) -> list[object]:
    listed = given if isinstance(given, list) else [given]
    if not 1 <= len(listed) <= MOST_DATA:
        raise ValueError(f"must be one data set, or a list of 1 to {MOST_DATA} (got {len(listed)})")
    return listed


class SuiteFile(BaseModel):
    """A suite file as written; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    data: Annotated[list[str | dict[str, Any]], BeforeValidator(_listed)] = ["mnist"]
    recipe: dict[str, Any] = {}
    seeds: Seeds = (0,)
    analyses: list[str] | None = None
    executor: str | dict[str, Any] | None = None
    features: list[str] = []
    protocol: Annotated[list[str], BeforeValidator(_as_list)] = []
    models: Annotated[list[dict[str, Any]], Field(min_length=1)]


@dataclass(frozen=True)
class Suite:
    """A validated suite: every model complete, every analysis known."""

    name: str
    description: str
    data: tuple[DataRequest, ...]
    """The data sets; every model is run on each of them."""
    seeds: tuple[int, ...]
    analyses: tuple[str, ...]
    entries: tuple[SuiteEntry, ...]
    features: tuple[FeatureRequest, ...] = ()
    """The networks in whose features images are compared."""
    protocols: tuple[str, ...] = ()
    """The evaluation protocols by which reconstructions are measured, besides the usual way."""
    executor: ExecutorSettings | None = None
    """The executor that the suite asks for; None for this machine."""
    folder: Path = Path()
    """The folder of the file, in which modules and weights that it names are found."""
    data_folder: Path = Path()
    """The folder in which the data are found: that of the file, unless the data were given with `--data`."""


MOST_CASES = 100_000
"""The highest number of models times seeds times data sets of a suite; more would be a mistake."""


def load(name: str) -> Suite:
    """Load a shipped suite by name, or any suite by the path of its YAML file.

    Raises LatentbenchError naming the file, the key and the allowed values.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise LatentbenchError(f"no suite file {name}")
        check_suite_name(path.stem)
        if path.stem in [*shipped.names("suites"), *shipped.names("sweeps")]:
            raise LatentbenchError(f"{name}: latentbench ships a suite named {path.stem!r}; rename the file")
        parsed = parse(read_text(path), name=path.stem, where=path.name)
        folder = path.parent.resolve()
        return replace(parsed, folder=folder, data_folder=folder)
    if name not in shipped.names("suites"):
        error = unknown("suite", name, [*shipped.names("suites"), *shipped.names("sweeps")])
        raise LatentbenchError(f"{error} (or the path of a .yaml file)")
    return parse(shipped.text("suites", name), name=name, where=f"{name}.yaml")


def parse(text: str, *, name: str, where: str) -> Suite:
    """Parse a suite from its YAML text; `where` is the file's name in messages."""
    content = parse_yaml(text, where)
    if not isinstance(content, dict):
        raise LatentbenchError(
            f"{where}: a suite is a mapping with the key 'models', got {type(content).__name__}"
        )
    file = validated(SuiteFile, content, where)
    usual = [name for name, entry in ANALYSES.items() if not entry.opt_in]
    analyses = _known_analyses(usual if file.analyses is None else file.analyses, f"{where}, analyses")
    features, analyses = _features(file.features, analyses, where)
    protocols, analyses = _protocols(file.protocol, analyses, where)
    grids = {f"{where}, models[{index}]": grid for index, grid in enumerate(file.models)}
    count = sum(grid_size(grid, place) for place, grid in grids.items())
    if count * len(file.seeds) * len(file.data) > MOST_CASES:
        on_data = f" × {len(file.data)} data sets" if len(file.data) > 1 else ""
        raise LatentbenchError(
            f"{where}: {count:,} models × {len(file.seeds):,} seeds{on_data}; a suite has at most "
            f"{MOST_CASES:,} cases"
        )
    entries = [entry for place, grid in grids.items() for entry in _entries(grid, file.recipe, place)]
    _refuse_duplicates(entries)
    data = _data(file.data, f"{where}, data")
    executor = None if file.executor is None else parse_executor(file.executor, f"{where}, executor")
    return Suite(
        name, file.description, data, file.seeds, analyses, tuple(entries), features, protocols, executor
    )


def _data(given: Sequence[str | Mapping[str, Any]], where: str) -> tuple[DataRequest, ...]:
    """Return the requests for data sets. Raises LatentbenchError for a bad one, and for one given twice."""
    places = [where] if len(given) == 1 else [f"{where}[{index}]" for index in range(len(given))]
    seen: dict[DataRequest, str] = {}
    for each, place in zip(given, places, strict=True):
        request = parse_data(each, list(DATASETS), place)
        if request in seen:
            raise LatentbenchError(f"{place}: {request} is already in {seen[request]}")
        seen[request] = place
    return tuple(seen)


def _features(
    given: Sequence[str], analyses: tuple[str, ...], where: str
) -> tuple[tuple[FeatureRequest, ...], tuple[str, ...]]:
    """Return the requested features, and the analyses with those that need features.

    Reconstructions are compared in them wherever there are any, samples where samples are measured too.
    """
    try:
        features = parse_features(given)
    except LatentbenchError as error:
        raise LatentbenchError(f"{where}, features: {error}") from None
    needing = [name for name in OF_FEATURES if name in analyses]
    if needing and not features:
        raise LatentbenchError(f"{where}: analysis {needing[0]!r} needs the key features, as in [inception]")
    if not features:
        return (), analyses
    of_samples = OF_FEATURES[1:] if "sampling" in analyses else ()
    return features, tuple(dict.fromkeys([*analyses, OF_FEATURES[0], *of_samples]))


def _protocols(
    given: Sequence[str], analyses: tuple[str, ...], where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the protocols, and the analyses with the one that measures by them."""
    names = tuple(dict.fromkeys(given))
    for name in names:
        if name not in PROTOCOLS:
            raise LatentbenchError(f"{where}, protocol: {unknown('protocol', name, list(PROTOCOLS))}")
    if OF_PROTOCOLS in analyses and not names:
        raise LatentbenchError(f"{where}: analysis {OF_PROTOCOLS!r} needs the key protocol, as in va-vae")
    return names, tuple(dict.fromkeys([*analyses, OF_PROTOCOLS])) if names else analyses


def with_recipe(suite: Suite, **settings: object) -> Suite:
    """Return the suite with every model trained by other settings, such as faster ones: other cases.

    Settings that are None stay unchanged.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    entries = [replace(entry, recipe=entry.recipe.model_copy(update=given)) for entry in suite.entries]
    return replace(suite, entries=tuple(entries))


def with_data(suite: Suite, data: Sequence[str]) -> Suite:
    """Return the suite on other data sets, such as `folder:photos?size=256` below the current folder.

    Raises LatentbenchError for data that are not described correctly.
    """
    if len(data) > MOST_DATA:
        raise LatentbenchError(f"--data: at most {MOST_DATA} data sets, got {len(data)}")
    return replace(suite, data=_data(data, "--data"), data_folder=Path.cwd())


def with_analyses(suite: Suite, analyses: Sequence[str]) -> Suite:
    """Return the suite with only these analyses. Raises LatentbenchError for an unknown one."""
    chosen = _known_analyses(analyses, "--analysis")
    needing = [name for name in OF_FEATURES if name in chosen]
    if needing and not suite.features:
        raise LatentbenchError(f"--analysis {needing[0]}: {suite.name} has no key features")
    if OF_PROTOCOLS in chosen and not suite.protocols:
        raise LatentbenchError(f"--analysis {OF_PROTOCOLS}: {suite.name} has no key protocol")
    return replace(suite, analyses=chosen)


def _known_analyses(analyses: Sequence[str], where: str) -> tuple[str, ...]:
    for index, analysis in enumerate(analyses):
        if analysis not in ANALYSES:
            raise LatentbenchError(f"{where}[{index}]: {unknown('analysis', analysis, list(ANALYSES))}")
    return tuple(dict.fromkeys(analyses))


def resolved(suite: Suite, data: ImageData, *, allow_pickle: bool = False) -> Suite:
    """Return the suite with every model as it can be trained on `data`; the user's own models are tried.

    Raises LatentbenchError naming the place in the file and the error.
    """
    entries = [replace(entry, spec=_resolved(entry, suite, data, allow_pickle)) for entry in suite.entries]
    _refuse_duplicates(entries)
    return replace(suite, entries=tuple(entries))


def _resolved(entry: SuiteEntry, suite: Suite, data: ImageData, allow_pickle: bool) -> ModelSpec:
    try:
        return resolve(entry.spec, data, Resolver(suite.folder, allow_pickle))
    except LatentbenchError as error:
        raise LatentbenchError(f"{entry.where}: {error}") from None


def _entries(grid: dict[str, Any], recipe: dict[str, Any], where: str) -> Iterator[SuiteEntry]:
    """Return one entry for each combination of the grid's lists; a grid may override parts of the recipe."""
    own = grid.get("recipe", {})
    if not isinstance(own, dict):
        raise LatentbenchError(f"{where}: recipe must be a mapping, got {own!r}")
    merged = validated(Recipe, {**recipe, **own}, f"{where}, recipe")
    for spec in grid_specs({key: value for key, value in grid.items() if key != "recipe"}, where):
        yield SuiteEntry(spec, merged, where)


def grid_size(grid: dict[str, Any], where: str) -> int:
    """Return how many models a grid stands for. Raises LatentbenchError for none and for too many."""
    lists = {key: value for key, value in grid.items() if isinstance(value, list)}
    for key, value in lists.items():
        if not value:
            raise LatentbenchError(f"{where}: {key} is an empty list; give at least one value")
    size = math.prod(map(len, lists.values()))
    if size > MOST_CASES:
        raise LatentbenchError(f"{where}: stands for {size:,} models; at most {MOST_CASES:,} are allowed")
    return size


def grid_specs(grid: dict[str, Any], where: str) -> Iterator[ModelSpec]:
    """Yield one spec per combination of the grid's lists. Raises LatentbenchError, beginning with `where`."""
    grid_size(grid, where)
    axes = [value if isinstance(value, list) else [value] for value in grid.values()]
    for values in itertools.product(*axes):
        try:
            yield model_spec(**dict(zip(grid, values, strict=True)))
        except LatentbenchError as error:
            raise LatentbenchError(f"{where}: {error}") from None


def _refuse_duplicates(entries: list[SuiteEntry]) -> None:
    seen: dict[tuple[ModelSpec, Recipe], str] = {}
    for entry in entries:
        key = (entry.spec, entry.recipe)
        if key in seen:
            raise LatentbenchError(f"{entry.where}: {entry.spec.label} is already in {seen[key]}")
        seen[key] = entry.where
