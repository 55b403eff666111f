"""The metrics of generation at equal cost by name: budgets of operations, and feature spaces."""

from __future__ import annotations

BUDGETS = (100, 400, 1600, 6400)
"""Operations of training, GFLOP."""
LABEL_FREE_SPACES = ("pixels", "untrained")
"""The feature spaces that no label has shaped."""


def metric_at(budget: int, space: str | None = None) -> str:
    """Return the name of the metric of a budget in GFLOP, in the judges' features or in a label-free space.

    >>> metric_at(100), metric_at(100, "pixels")
    ('frechet_at_100_gflop', 'frechet_at_100_gflop_pixels')
    """
    return f"frechet_at_{budget}_gflop" + (f"_{space}" if space else "")
