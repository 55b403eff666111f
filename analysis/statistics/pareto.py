"""The Pareto front: the points that no other point beats in both quantities."""

from __future__ import annotations

from collections.abc import Sequence


def front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Return the positions of the points that no other is at least as good as in both, by rising cost.

    A point is off the front if another costs no more and gains no less, and is better in one of the
    two. Of equal points the first is kept.

    >>> front([1.0, 2.0, 3.0], [10.0, 9.0, 20.0])
    [0, 2]
    """
    order = sorted(range(len(costs)), key=lambda position: (costs[position], -gains[position]))
    kept: list[int] = []
    for position in order:
        if not kept or gains[position] > gains[kept[-1]]:
            kept.append(position)
    return kept
