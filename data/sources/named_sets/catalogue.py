"""The catalogue of named data sets: each module adds its own with `@dataset(name, description)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latentbench.data.images import ImageData
from latentbench.data.registry import Registry

Reader = Callable[[], ImageData]


@dataclass(frozen=True)
class Dataset:
    """A data set that can be loaded by name; `description` is the line that `latentbench list data` shows."""

    name: str
    description: str
    read: Reader


DATASETS: Registry[Dataset] = Registry("data set")


def dataset(name: str, description: str) -> Callable[[Reader], Reader]:
    """Register the decorated reader under `name`; `description` is one line for users."""

    def decorator(read: Reader) -> Reader:
        DATASETS.register(name)(Dataset(name, description, read))
        return read

    return decorator
