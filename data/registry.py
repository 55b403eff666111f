"""One registry for everything that is looked up by name: data sets, families, metrics, figures."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from latentbench.data.errors import LatentbenchError

T = TypeVar("T")
LISTED = 40
"""An error lists at most this many names; of a longer list it shows only the nearest."""


def unknown(kind: str, name: object, allowed: list[str]) -> LatentbenchError:
    """Return the error for an unregistered name, with the nearest known name first."""
    close = difflib.get_close_matches(str(name), allowed, n=1 if len(allowed) <= LISTED else 5)
    if close and len(allowed) > LISTED:
        return LatentbenchError(f"unknown {kind} {name!r}; did you mean {' or '.join(map(repr, close))}?")
    hint = f"did you mean {close[0]!r}? Known" if close else "known"
    names = ", ".join(allowed[:LISTED]) + (f" and {len(allowed) - LISTED} more" * (len(allowed) > LISTED))
    return LatentbenchError(f"unknown {kind} {name!r}; {hint}: {names or 'none'}")


class Registry(Generic[T]):
    """Names mapped to objects, filled by a decorator, read in order of registration or as arranged.

    >>> colours = Registry[str]("colour")
    >>> colours.register("red")("#f00")
    '#f00'
    >>> colours["red"]
    '#f00'
    >>> colours["rad"]
    Traceback (most recent call last):
    ...
    latentbench.data.errors.LatentbenchError: unknown colour 'rad'; did you mean 'red'? Known: red
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Register the decorated object under `name`; a name is taken once."""

        def decorator(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return decorator

    def arrange(self, names: Iterable[str]) -> None:
        """Put these names first, in this order; names not listed follow in order of registration.

        >>> colours = Registry[str]("colour")
        >>> _ = colours.register("red")("#f00"), colours.register("blue")("#00f")
        >>> colours.arrange(["blue"])
        >>> list(colours)
        ['blue', 'red']
        """
        first = {name: self[name] for name in names}
        self._entries = first | {name: entry for name, entry in self._entries.items() if name not in first}

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise unknown(self.kind, name, list(self))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def items(self) -> list[tuple[str, T]]:
        """Return names and entries, in order of registration."""
        return list(self._entries.items())
