"""An object that keeps what functions compute from it: each is computed once, and freed with the object."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Memo:
    """A base class whose objects remember results, in place of caches at the level of a module.

    >>> class Numbers(Memo):
    ...     values = [3, 1, 2]
    >>> def ordered(numbers):
    ...     return sorted(numbers.values)
    >>> numbers = Numbers()
    >>> numbers.once(ordered), numbers.once(ordered) is numbers.once(ordered)
    ([1, 2, 3], True)
    """

    def once(self, compute: Callable[[Self], T]) -> T:
        """Return `compute(self)`, computed at the first call and kept as long as this object lives.

        `compute` must be a named function or a class: its identity is the key. An exception is not kept.
        """
        if compute not in self._results:
            self._results[compute] = compute(self)
        result: T = self._results[compute]
        return result

    def keep(self, compute: Callable[[Self], T], result: T) -> None:
        """Take a result for that of `once(compute)`: another process has computed it."""
        self._results[compute] = result

    def __getstate__(self) -> dict[str, Any]:
        """Leave the results out of a pickle: another process computes its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_results"}

    @cached_property
    def _results(self) -> dict[Hashable, Any]:
        return {}
