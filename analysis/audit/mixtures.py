"""Checks that drop, add or merge the modes of a Gaussian mixture."""

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
    falling,
    falling_by,
    flat,
    low_or_high,
    rising,
    value,
)

MODES = 10
MODE_WIDTH = {1: 1 / 6, 8: 1 / 3, 64: 1.0}
"""Standard deviation of a mode by dimensions; the means are from 0 to 10 along the diagonal."""
SHARES = np.linspace(0, 1, 50)
DROPPED = np.arange(MODES, dtype=float)
NEARLY_ALL = float(SHARES[47])
SEPARATIONS = np.linspace(0, 5, 20)
REAL_MODES = 5
PLANE_WIDTH = 0.25
PLANE = np.array(
    [
        [5.46794328, -4.08481523],
        [4.87211875, -13.64864684],
        [-16.39432073, 9.09802249],
        [-2.15447941, 12.46200019],
        [11.55784483, -4.96049923],
        [-24.60558474, 14.18020818],
        [16.84215967, -3.18710751],
        [-5.47807206, -6.77247129],
        [9.46726546, 1.05922347],
        [-5.40346201, -17.29490131],
    ]
)
"""Modes in the plane, those of the published check: the first five are real."""


def mixture(rng: Generator, n: int, means: Array, width: float, weights: Array) -> Array:
    """Draws of a mixture of round Gaussians, `[n, D]`; weights need not sum to 1."""
    mode = rng.choice(len(means), size=n, p=weights / weights.sum())
    return rng.normal(means[mode], width)


def _dropping(weights: Callable[[float], Array]) -> Callable[[int], Callable[[Generator, int], Pairs]]:
    """Ten equal modes, and the same with weights that depend on x."""

    def setting(d: int) -> Callable[[Generator, int], Pairs]:
        means = np.tile(np.linspace(0, 10, MODES)[:, None], (1, d))

        def draw(rng: Generator, n: int) -> Pairs:
            real = mixture(rng, n, means, MODE_WIDTH[d], np.ones(MODES))
            return lambda x: (real, mixture(rng, n, means, MODE_WIDTH[d], weights(x)))

        return draw

    return setting


def all_but_the_first(share: float) -> Array:
    """Weights when all modes but the first lose a share."""
    return np.where(np.arange(MODES) == 0, 1.0, 1 - share)


def without_the_last(dropped: float) -> Array:
    """Weights when the last modes are dropped."""
    return (np.arange(MODES) < MODES - dropped).astype(float)


def in_the_plane(rng: Generator, n: int) -> Pairs:
    """The first five modes of `PLANE`, and its first x."""
    real = mixture(rng, n, PLANE[:REAL_MODES], PLANE_WIDTH, np.ones(REAL_MODES))
    return lambda x: (real, mixture(rng, n, PLANE[: int(x)], PLANE_WIDTH, np.ones(int(x))))


def merged(d: int) -> Callable[[Generator, int], Pairs]:
    """Two modes at ± x/2 along the diagonal, and one wide Gaussian."""

    def draw(rng: Generator, n: int) -> Pairs:
        def pair(x: float) -> tuple[Array, Array]:
            means = np.tile([[-0.5 * x], [0.5 * x]], (1, d))
            return mixture(rng, n, means, 1, np.ones(2)), rng.normal(0, np.sqrt(1 + x**2), (n, d))

        return pair

    return draw


DROPPING = (
    CheckRequirement("bounds", "1 where identical", value(LEFT, 1)),
    CheckRequirement("bounds", "1 where modes are dropped", value(RIGHT, 1), "fidelity"),
    CheckRequirement("purpose", "flat", flat, "fidelity"),
)

MIXTURES = (
    SanityCheck(
        "gaussian-mixture-simultaneous-mode-dropping",
        "modes dropped together",
        dimensions(_dropping(all_but_the_first), dict.fromkeys(MODE_WIDTH, SHARES), keep=NEARLY_ALL),
        (*DROPPING, CheckRequirement("purpose", "falls before the end", falling_by(NEARLY_ALL), "diversity")),
    ),
    SanityCheck(
        "gaussian-mixture-sequential-mode-dropping",
        "modes dropped in turn",
        dimensions(_dropping(without_the_last), dict.fromkeys(MODE_WIDTH, DROPPED)),
        (*DROPPING, CheckRequirement("purpose", "falls from the start", falling_by(4), "diversity")),
    ),
    SanityCheck(
        "gaussian-mixture-mode-dropping-invention",
        "modes dropped and invented",
        (ParameterSweep("", tuple(map(float, range(1, len(PLANE) + 1))), in_the_plane),),
        (
            CheckRequirement("bounds", "1 where identical", value(REAL_MODES, 1)),
            CheckRequirement("bounds", "1 with dropped modes", value(LEFT, 1), "fidelity"),
            CheckRequirement("bounds", "1 with invented modes", value(RIGHT, 1), "diversity"),
            CheckRequirement("purpose", "falls", falling, "fidelity"),
            CheckRequirement("purpose", "rises", rising, "diversity"),
        ),
    ),
    SanityCheck(
        "one-vs-two-modes",
        "two modes merged into one",
        dimensions(merged, dict.fromkeys(MODE_WIDTH, SEPARATIONS)),
        (
            CheckRequirement("bounds", "1 where identical", value(LEFT, 1)),
            CheckRequirement("purpose", "falls", falling, "fidelity"),
            CheckRequirement("purpose", "falls, or flat", low_or_high(falling, flat), "diversity"),
        ),
    ),
)
