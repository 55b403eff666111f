"""The data sets of a run. One is open at a time, so that memory never holds two."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from latentbench import data as datasets
from latentbench.bench.run.case import Case
from latentbench.bench.run.resumable import Watcher
from latentbench.bench.run.stages.contexts import data_opener
from latentbench.data.errors import DataError, LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.request import DataRequest


@dataclass(frozen=True)
class Part:
    """The cases of a suite on one of its data sets."""

    request: DataRequest
    cases: tuple[Case, ...]

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the data set."""
        return self.cases[0].data.fingerprint


@dataclass(frozen=True)
class _Known:
    """A data set that was opened before, and how to open it again without decoding its images."""

    fingerprint: str
    open: Callable[[], ImageData]


class DataSets:
    """Opens the data sets of a suite, one at a time; relative paths start at `folder`."""

    def __init__(self, requests: Sequence[DataRequest], folder: Path, watcher: Watcher) -> None:
        self._requests, self._folder, self._watcher = requests, folder, watcher
        self._known: dict[DataRequest, _Known] = {}
        self._current: tuple[DataRequest, ImageData] | None = None

    def open(self, request: DataRequest) -> ImageData:
        """Return a data set; the one that was open before is released first.

        Images from files are decoded once, into a file that all workers map.
        """
        if self._current is None or self._current[0] != request:
            self._current = None
            self._current = request, self._again(request) if request in self._known else self._first(request)
        return self._current[1]

    def opener(self, request: DataRequest) -> Callable[[], ImageData]:
        """Return how a worker process of this machine gets a data set that was opened here."""
        return self._known[request].open

    @contextmanager
    def naming(self, request: DataRequest) -> Iterator[None]:
        """Let errors begin with the data set, where a suite has several."""
        try:
            yield
        except LatentbenchError as error:
            if len(self._requests) == 1:
                raise
            raise LatentbenchError(f"data {request}: {error}") from None

    def _first(self, request: DataRequest) -> ImageData:
        data = datasets.load(
            request,
            relative_to=self._folder,
            mapped=True,
            progress=ShownProgress(self._watcher, str(request)),
        )
        for note in data.notes:
            self._watcher.note(note)
        opener = data_opener(data, request, self._folder)
        self._known[request] = _Known(data.fingerprint, opener)
        return data

    def _again(self, request: DataRequest) -> ImageData:
        known = self._known[request]
        data = known.open()
        if data.fingerprint != known.fingerprint:
            raise DataError(f"data {request}: changed since the run was started; run it again")
        return data


class ShownProgress:
    """Shows a watcher how far an activity has come, such as decoding; `units` are by the activity's name."""

    def __init__(self, watcher: Watcher, label: str, units: Mapping[str, str] = MappingProxyType({})) -> None:
        self._watcher, self._label, self._units = watcher, label, units
        self._what, self._done = "", 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report that `done` of `total` images, or other units, are done."""
        if what != self._what or done < self._done:
            self._watcher.stage_started(what, total, self._units.get(what, "images"))
            self._what, self._done = what, 0
        for _ in range(self._done, done):
            self._watcher.stage_advanced(self._label)
        self._done = done


def refuse_equal(parts: Sequence[Part]) -> None:
    """Raise LatentbenchError for two data sets with the same content, whose cases would be the same."""
    seen: dict[str, DataRequest] = {}
    for part in parts:
        if part.fingerprint in seen:
            raise LatentbenchError(
                f"data {part.request}: has the same images, labels and classes as {seen[part.fingerprint]}; "
                "name one of them"
            )
        seen[part.fingerprint] = part.request
