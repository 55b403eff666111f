"""Exact nearest neighbours and ball members, in blocks: memory O(chunk · N), one matrix product per block.

‖x − y‖² = ‖x‖² + ‖y‖² − 2 x·y in float32 is fast and loses digits. So here it only excludes pairs: reduced by
more than its rounding error it is a lower bound, and every pair that the bound does not decide is decided
by its difference in float64. A point's distance to its duplicate is exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK, GPU_CHUNK = 250, 4000
"""Queries per block on a CPU, whose cache holds the block, and on a GPU, which a larger one keeps busy."""
GROUP = 64
"""The number of points per group, whose least bound is checked first: for most groups it excludes all of
them."""
HUGE = 1e30
PAIRS = 100_000
"""The number of pairs whose differences are computed at a time."""
SPARE = 2
"""Candidates beyond k, so that rounding rarely leaves the k nearest undecided."""
ERROR = 16 * torch.finfo(torch.float32).eps
"""The product's rounding error is below this share of ‖x‖² + ‖y‖², up to about a thousand dimensions."""
TIE = 1e-10
"""Relative difference below which two float64 distances are equal."""


def nearest(
    queries: Tensor, points: Tensor, k: int, *, exclude_self: bool = False, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Find the k nearest `points` `[N, D]` of each of `queries` `[M, D]`, by Euclidean distance.

    Returns distances, ascending, in the inputs' precision, and int64 indices, both `[M, k]`. With
    `exclude_self`, queries and points are the same set and query i skips point i (but not its
    duplicates). Raises ValueError for a k outside 1 … the number of points to choose from, for
    mismatched shapes, and for values that are not finite.
    """
    _check(queries, points)
    available = len(points) - exclude_self
    if exclude_self and len(queries) != len(points):
        raise ValueError(f"exclude_self needs one set, got {len(queries)} queries and {len(points)} points")
    if not 1 <= k <= available:
        raise ValueError(f"k must be 1 to {available} (the points to choose from), got {k}")
    x, y = _centred(queries, points, torch.float64)
    own = torch.arange(len(x), device=x.device) if exclude_self else None
    candidates = min(k + SPARE, available)

    found, apart, ruled_out = _search(x, y, candidates, own, chunk, torch.float32)
    # Every excluded point is at least `ruled_out` away, squared: is that farther than the k-th?
    doubtful = (ruled_out < apart[:, k - 1].square() * (1 + TIE)) & (candidates < available)
    if doubtful.any():
        again = None if own is None else own[doubtful]
        found[doubtful], apart[doubtful], _ = _search(x[doubtful], y, candidates, again, chunk, torch.float64)
    return apart[:, :k].to(queries.dtype), found[:, :k]


def _search(
    x: Tensor, y: Tensor, count: int, own: Tensor | None, chunk: int | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the `count` points with the least bounds, nearest first, `[M, count]`, and their distances.

    The third result is the greatest of their bounds, squared, `[M]`. Query i skips point `own[i]`.
    """
    # Made before the loop: small results in the space that large temporary tensors left would split it.
    found = torch.empty(len(x), count, dtype=torch.int64, device=x.device)
    apart = torch.empty(len(x), count, dtype=torch.float64, device=x.device)
    bounds = torch.empty(len(x), dtype=torch.float64, device=x.device)
    for rows, groups in _bounds(x.to(dtype), y.to(dtype), chunk=chunk):
        if own is not None:
            groups.flatten(1)[torch.arange(len(groups), device=x.device), own[rows]] = torch.inf
        bound, candidates = _least(groups, count)
        exact, order = (x[rows].unsqueeze(1) - y[candidates]).norm(dim=2).sort(dim=1, stable=True)
        found[rows], apart[rows], bounds[rows] = candidates.gather(1, order), exact, bound[:, -1].double()
    return found, apart, bounds


def _least(groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` least values of each row of `[M, G, GROUP]`, ascending, and their places in it.

    They are in the `count` groups with the smallest least values, so only those are sorted.
    """
    chosen = groups.amin(2).topk(min(count, groups.shape[1]), largest=False).indices
    values = groups.gather(1, chosen.unsqueeze(2).expand(-1, -1, GROUP)).flatten(1)
    least, place = values.topk(count, largest=False)
    return least, chosen.gather(1, place // GROUP) * GROUP + place % GROUP


@dataclass(frozen=True, eq=False)
class Balls:
    """Open balls about `centres` `[N, D]` with `radii` `[N]`: a point at exactly the radius is outside.

    Raises ValueError, as do its methods, for mismatched shapes and for values that are not finite.
    """

    centres: Tensor
    radii: Tensor

    def members(self, points: Tensor, *, chunk: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Find the points `[M, D]` in each ball: blocks of pairs, int64 `[P]` each, point i and ball j."""
        x, y, scales = self._prepared(points)
        for rows, groups in _bounds(x.float(), y.float(), self.radii.float(), chunk=chunk):
            i, group = (groups.amin(2) < 0).nonzero(as_tuple=True)
            some, place = (groups[i, group] < 0).nonzero(as_tuple=True)
            i, j = i[some], group[some] * GROUP + place
            bound = groups.flatten(1)[i, j]
            i = i + rows.start
            inside = self._inside(x, y, scales, i, j, bound)
            yield i[inside], j[inside]

    def hold(self, points: Tensor, *, chunk: int | None = None) -> Tensor:
        """Find the points `[M, D]` that lie in any ball, bool `[M]`."""
        x, y, scales = self._prepared(points)
        held = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        for rows, groups in _bounds(x.float(), y.float(), self.radii.float(), chunk=chunk):
            bounds = groups.flatten(1)
            least, j = bounds.min(1)
            i = torch.arange(rows.start, rows.stop, device=points.device)
            held[rows] = self._inside(x, y, scales, i, j.clamp(max=len(y) - 1), least)
            # The ball with the least bound may just miss a point that another one contains.
            unsure = ((least < 0) & ~held[rows]).nonzero().squeeze(1)
            row, j = (bounds[unsure] < 0).nonzero(as_tuple=True)
            i = unsure[row] + rows.start
            held[i[self._inside(x, y, scales, i, j, bounds[unsure][row, j])]] = True
        return held

    def _prepared(self, points: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Return points and centres, centred, in float64, and the size of the terms in their bounds."""
        _check(points, self.centres)
        x, y = _centred(points, self.centres, torch.float64)
        return x, y, (x.square().sum(1), y.square().sum(1) + self.radii.double().square())

    def _inside(
        self, x: Tensor, y: Tensor, scales: tuple[Tensor, Tensor], i: Tensor, j: Tensor, bound: Tensor
    ) -> Tensor:
        """Return True for pairs whose point i is in ball j, bool `[P]`, exactly if the bound is not clear."""
        inside = bound.double() + 2 * ERROR * (scales[0][i] + scales[1][j]) < 0
        unsure = ((bound < 0) & ~inside).nonzero().squeeze(1)
        apart = distances(x, y, i[unsure], j[unsure])
        inside[unsure] = within(apart, self.radii[j[unsure]].double())
        return inside


def distances(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Compute ‖x_i − y_j‖ of pairs (i, j), int64 `[P]` each, from their differences: float64 `[P]`."""
    pairs = zip(i.split(PAIRS), j.split(PAIRS), strict=True)
    return torch.cat([(x[a].double() - y[b].double()).norm(dim=1) for a, b in pairs])


def within(distance: Tensor, radius: Tensor) -> Tensor:
    """Return True if a float64 distance is below a radius by more than rounding explains."""
    return distance < radius * (1 - TIE)


def squared_distances(
    queries: Tensor, points: Tensor, *, chunk: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of squared distances in the inputs' precision: a slice of rows and its `[rows, N]`.

    Every block is written into the same memory: use it before requesting the next. Rounding may make a
    value slightly negative.
    """
    x, y = _centred(queries, points, points.dtype)
    yield from _products(x, x.square().sum(1), y, y.square().sum(1), chunk)


def _bounds(
    x: Tensor, y: Tensor, radii: Tensor | None = None, *, chunk: int | None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield lower bounds of ‖x − y‖² in float32, in blocks `[rows, G, GROUP]`.

    The squared radius about y is subtracted, if given, and the largest rounding error. Points run through
    the groups; the last is filled with a huge number.
    """
    shrink = 1 - ERROR if x.dtype == torch.float32 else 1.0
    y_norms = shrink * y.square().sum(1)
    if radii is not None:
        y_norms = y_norms - radii.square() / shrink
    missing = -len(y) % GROUP
    y, y_norms = F.pad(y, (0, 0, 0, missing)), F.pad(y_norms, (0, missing), value=HUGE)
    for rows, block in _products(x, shrink * x.square().sum(1), y, y_norms, chunk):
        yield rows, block.unflatten(1, (-1, GROUP))


def _products(
    x: Tensor, x_terms: Tensor, y: Tensor, y_terms: Tensor, chunk: int | None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of x_terms + y_terms − 2 x·y, `[rows, N]`, in the same memory."""
    # Ones and the terms as two more coordinates let the product compute the sum itself.
    left = torch.cat([-2 * x, x_terms.unsqueeze(1), torch.ones_like(x_terms).unsqueeze(1)], dim=1)
    right = torch.cat([y, torch.ones_like(y_terms).unsqueeze(1), y_terms.unsqueeze(1)], dim=1).T
    chunk = chunk or (GPU_CHUNK if x.is_cuda else CHUNK)
    block = torch.empty(min(chunk, len(x)), len(y), dtype=x.dtype, device=x.device)
    for start in range(0, len(x), chunk):
        rows = slice(start, min(start + chunk, len(x)))
        yield rows, torch.mm(left[rows], right, out=block[: rows.stop - start])


def _centred(queries: Tensor, points: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Subtract the points' mean from one copy of both: norms that are large next to distances lose digits."""
    x, y = (each.to(dtype, copy=True) for each in (queries, points))
    centre = y.mean(0)
    return x.sub_(centre), y.sub_(centre)


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
