"""Exact nearest neighbours, in blocks: memory O(chunk · N), arithmetic in one matrix product per block.

‖x − y‖² = ‖x‖² + ‖y‖² − 2 x·y is fast and loses digits when the norms are large against the distance.
So points are centred first, and the distances that are handed back are computed again from differences:
a point's distance to its duplicate is exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK = 250
SPARE = 2
"""Candidates beyond k kept in float32, so that two near-equal distances cannot swap across rank k."""


def nearest(
    queries: Tensor, points: Tensor, k: int, *, exclude_self: bool = False, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """The k nearest `points` `[N, D]` of every one of `queries` `[M, D]`, by Euclidean distance.

    Returns distances, ascending, and int64 indices, both `[M, k]`. With `exclude_self`, queries and
    points are the same set and query i skips point i (but not its duplicates). The search runs in the
    inputs' precision; the distances returned are exact to it. In float32 the neighbours found are
    the true ones up to relative differences of about 1e-6 of the spread; hand over float64 where
    that matters. Raises ValueError for a k that is not 1 … the number of points to choose from, for
    mismatched shapes, and for values that are not finite.
    """
    _check(queries, points)
    available = len(points) - exclude_self
    if exclude_self and len(queries) != len(points):
        raise ValueError(f"exclude_self needs one set, got {len(queries)} queries and {len(points)} points")
    if not 1 <= k <= available:
        raise ValueError(f"k must be 1 to {available} (the points to choose from), got {k}")
    candidates = min(k + SPARE, available)
    distances, indices = [], []
    for rows, squared in squared_distances(queries, points, chunk=chunk):
        if exclude_self:
            diagonal = torch.arange(rows.start, rows.stop, device=squared.device)
            squared[diagonal - rows.start, diagonal] = torch.inf
        found = squared.topk(candidates, largest=False).indices
        exact = (queries[rows].unsqueeze(1) - points[found]).norm(dim=2)
        exact, order = exact.sort(dim=1, stable=True)
        distances.append(exact[:, :k])
        indices.append(found.gather(1, order[:, :k]))
    return torch.cat(distances), torch.cat(indices)


def squared_distances(
    queries: Tensor, points: Tensor, *, chunk: int = CHUNK
) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of squared distances: pairs of a slice of rows and its block `[rows, N]`.

    Every block is written into the same memory: use it before asking for the next. Rounding is about
    `rounding(queries, points)`, so a value may be slightly negative.
    """
    centre = points.mean(0)
    x, y = queries - centre, points - centre
    # Ones and squared norms as two more coordinates let the product yield the distance itself.
    x_norms, y_norms = x.square().sum(1, keepdim=True), y.square().sum(1, keepdim=True)
    left = torch.cat([-2 * x, x_norms, torch.ones_like(x_norms)], dim=1)
    right = torch.cat([y, torch.ones_like(y_norms), y_norms], dim=1).T
    block = torch.empty(min(chunk, len(x)), len(y), dtype=x.dtype, device=x.device)
    for start in range(0, len(x), chunk):
        rows = slice(start, min(start + chunk, len(x)))
        yield rows, torch.mm(left[rows], right, out=block[: rows.stop - start])


def rounding(queries: Tensor, points: Tensor) -> float:
    """An upper bound of the rounding error in `squared_distances`: below it, two values are a tie."""
    centre = points.mean(0)
    largest = max(float((x - centre).square().sum(1).max()) for x in (queries, points))
    return 16 * torch.finfo(points.dtype).eps * largest


def _check(queries: Tensor, points: Tensor) -> None:
    if queries.ndim != 2 or points.ndim != 2 or queries.shape[1] != points.shape[1]:
        raise ValueError(
            f"queries [M, D] and points [N, D] must agree in D, "
            f"got {list(queries.shape)} and {list(points.shape)}"
        )
    if queries.dtype != points.dtype or not points.is_floating_point():
        raise ValueError(f"queries and points must share a float type, got {queries.dtype}, {points.dtype}")
    for name, tensor in (("queries", queries), ("points", points)):
        if not tensor.isfinite().all():
            raise ValueError(f"{name} hold values that are not finite")
