"""Checks that move, widen, stretch or round a Gaussian, or add an outlier or a heavy tail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from latentbench.analysis.audit.check import (
    Array,
    CheckRequirement,
    Pairs,
    ParameterSweep,
    SanityCheck,
    dimensions,
)
from latentbench.analysis.audit.criteria import (
    LEFT,
    RIGHT,
    bell,
    falling,
    flat,
    low_or_high,
    one_or_zero,
    rising,
    value,
)

FAR = 6.0
"""A shift at which two unit Gaussians hardly overlap."""
TAIL = 1.01
"""Exponent of the Pareto density: its mean exists, its variance does not."""

SHIFTS = {d: np.linspace(-far, far, 51) for d, far in ((1, FAR), (8, 3.0), (64, 1.0))}
WIDTHS = {d: np.logspace(-far, far, 51) for d, far in ((1, 3.0), (8, 1.0), (64, 0.5))}
SCALES = tuple(np.logspace(-3, 3, 20).tolist())
EXTRA = tuple(map(float, np.logspace(0, 3, 20).astype(int)))
ROUNDED = tuple(np.logspace(0, 3, 20).tolist())

MOVED = (
    CheckRequirement("bounds", "1 where identical", value(0, 1)),
    CheckRequirement("bounds", "0 far to the left", value(LEFT, 0)),
    CheckRequirement("bounds", "0 far to the right", value(RIGHT, 0)),
    CheckRequirement("purpose", "bell", bell(0)),
)


def shifted(d: int) -> Callable[[Generator, int], Pairs]:
    """N(0, I) and N(x, I)."""

    def draw(rng: Generator, n: int) -> Pairs:
        real = rng.normal(size=(n, d))
        return lambda x: (real, rng.normal(x, 1, (n, d)))

    return draw


def with_outlier(d: int, *, real_has_it: bool) -> Callable[[Generator, int], Pairs]:
    """N(0, I) and N(x, I), with one more point in the corner that N(x, I) moves to."""

    def draw(rng: Generator, n: int) -> Pairs:
        real, outlier = rng.normal(size=(n, d)), np.full((1, d), SHIFTS[d].max())
        if real_has_it:
            both = np.concatenate([real, outlier])
            return lambda x: (both, rng.normal(x, 1, (n, d)))
        return lambda x: (real, np.concatenate([rng.normal(x, 1, (n, d)), outlier]))

    return draw


def widened(d: int) -> Callable[[Generator, int], Pairs]:
    """N(0, I) and N(0, x² I)."""

    def draw(rng: Generator, n: int) -> Pairs:
        real = rng.normal(size=(n, d))
        return lambda x: (real, rng.normal(0, x, (n, d)))

    return draw


def stretched(rng: Generator, n: int) -> Pairs:
    """Two Gaussians that are apart in the first of two coordinates; the second is multiplied by x."""

    def pair(x: float) -> tuple[Array, Array]:
        scale = np.array([1, x])
        return rng.normal(size=(n, 2)) * scale, rng.normal([FAR, 0], 1, (n, 2)) * scale

    return pair


def with_tail(rng: Generator, n: int) -> Pairs:
    """N(0, 1) and N(x, 1) in the first coordinate, the same Pareto density in the second."""

    def points(x: float) -> Array:
        return np.stack([rng.normal(x, 1, n), 1 + rng.pareto(TAIL, n)], axis=1)

    real = points(0)
    return lambda x: (real, points(x))


def one_apart(rng: Generator, n: int) -> Pairs:
    """Two Gaussians that are apart in the first coordinate, with x more coordinates in which they agree."""

    def pair(x: float) -> tuple[Array, Array]:
        real, fake = rng.normal(size=(2, n, int(x) + 1))
        fake[:, 0] += FAR
        return real, fake

    return pair


def rounded(*, real: bool) -> Callable[[Generator, int], Pairs]:
    """N(0, x²) twice, one of the two rounded to integers."""

    def draw(rng: Generator, n: int) -> Pairs:
        def pair(x: float) -> tuple[Array, Array]:
            whole, fine = np.round(x * rng.normal(size=(n, 1))), x * rng.normal(size=(n, 1))
            return (whole, fine) if real else (fine, whole)

        return pair

    return draw


REAL_ROUNDED, SAMPLES_ROUNDED = "real rounded", "samples rounded"

GAUSSIANS = (
    SanityCheck("gaussian-mean-difference", "Gaussian, mean", dimensions(shifted, SHIFTS), MOVED),
    SanityCheck(
        "gaussian-mean-difference-with-outlier",
        "Gaussian, mean + outlier",
        tuple(
            ParameterSweep(f"{name}, D = {d}", tuple(map(float, x)), with_outlier(d, real_has_it=real))
            for name, real in (("real outlier", True), ("sample outlier", False))
            for d, x in SHIFTS.items()
        ),
        MOVED,
    ),
    SanityCheck(
        "gaussian-std-difference",
        "Gaussian, standard deviation",
        dimensions(widened, WIDTHS, keep=1.0),
        (
            CheckRequirement("bounds", "1 where identical", value(1, 1)),
            CheckRequirement("bounds", "1 for narrow samples", value(LEFT, 1), "fidelity"),
            CheckRequirement("bounds", "0 for narrow samples", value(LEFT, 0), "diversity"),
            CheckRequirement("bounds", "0 for wide samples", value(RIGHT, 0), "fidelity"),
            CheckRequirement("bounds", "0 or 1 for wide samples", one_or_zero(RIGHT), "diversity"),
            CheckRequirement("purpose", "falls", falling, "fidelity"),
            CheckRequirement("purpose", "bell, or rises", low_or_high(bell(1), rising), "diversity"),
        ),
    ),
    SanityCheck(
        "gaussian-scaling-one-dimension",
        "scale of one dimension",
        (ParameterSweep("", SCALES, stretched),),
        (
            CheckRequirement("bounds", "0 at the smallest scale", value(LEFT, 0)),
            CheckRequirement("bounds", "0 at the largest scale", value(RIGHT, 0)),
            CheckRequirement("invariance", "flat", flat),
        ),
    ),
    SanityCheck(
        "gaussian-mean-difference-with-pareto",
        "Gaussian, mean + Pareto",
        (ParameterSweep("", tuple(map(float, SHIFTS[1])), with_tail),),
        MOVED,
    ),
    SanityCheck(
        "gaussian-high-dim-one-disjoint-dim",
        "one dimension apart, others equal",
        (ParameterSweep("", EXTRA, one_apart),),
        (
            CheckRequirement("bounds", "0 with one more dimension", value(LEFT, 0)),
            CheckRequirement("bounds", "0 with the most dimensions", value(RIGHT, 0)),
            CheckRequirement("purpose", "flat", flat),
        ),
    ),
    SanityCheck(
        "discrete-numerical-vs-continuous-numerical",
        "integers and real numbers",
        (
            ParameterSweep(REAL_ROUNDED, ROUNDED, rounded(real=True)),
            ParameterSweep(SAMPLES_ROUNDED, ROUNDED, rounded(real=False)),
        ),
        (
            *(
                requirement
                for where, name in ((LEFT, "coarse"), (RIGHT, "fine"))
                for requirement in (
                    CheckRequirement("bounds", f"0, {name}", value(where, 0), "fidelity", REAL_ROUNDED),
                    CheckRequirement(
                        "bounds", f"0 or 1, {name}", one_or_zero(where), "diversity", REAL_ROUNDED
                    ),
                    CheckRequirement("bounds", f"1, {name}", value(where, 1), "fidelity", SAMPLES_ROUNDED),
                    CheckRequirement("bounds", f"0, {name}", value(where, 0), "diversity", SAMPLES_ROUNDED),
                )
            ),
            CheckRequirement("purpose", "flat", flat),
        ),
    ),
)
