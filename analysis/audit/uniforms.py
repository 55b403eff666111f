"""Checks with uniform densities: spheres, cubes that overlap by a fifth, a ball within a torus."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from latentbench.analysis.audit.check import (
    SIZE,
    Array,
    CheckRequirement,
    Pairs,
    ParameterSweep,
    SanityCheck,
    dimensions,
)
from latentbench.analysis.audit.criteria import LEFT, RIGHT, bell, flat_from, value

RADII = np.linspace(0.1, 1.9, 51)
SIZES = np.logspace(2, 4, 20).astype(int).astype(float)
"""Numbers of points where there are `SIZE` real ones; in proportion for others."""
MEDIAN_SIZE = float(np.median(SIZES))
SHARED = 0.2
"""Volume that both cubes share."""
BALL_RADIUS, TUBE_RADIUS = 0.8, 0.1


def sphere(rng: Generator, n: int, d: int, radius: float) -> Array:
    """Uniform on a sphere, `[n, d]`."""
    direction = rng.normal(size=(n, d))
    length: Array = np.linalg.norm(direction, axis=1, keepdims=True)
    return radius * direction / length


def ball(rng: Generator, n: int, d: int, radius: float) -> Array:
    """Uniform in a ball, `[n, d]`."""
    return sphere(rng, n, d, radius) * rng.uniform(size=(n, 1)) ** (1 / d)


def torus(rng: Generator, n: int) -> Array:
    """A disc of radius 0.1 about (1, 0, 0) turned about the third axis by any angle, `[n, 3]`."""
    disc, angle = ball(rng, n, 2, TUBE_RADIUS), rng.uniform(0, 2 * np.pi, n)
    return np.stack([(1 + disc[:, 0]) * np.cos(angle), (1 + disc[:, 0]) * np.sin(angle), disc[:, 1]], axis=1)


def grown(d: int) -> Callable[[Generator, int], Pairs]:
    """Spheres of radius 1 and x."""

    def draw(rng: Generator, n: int) -> Pairs:
        real = sphere(rng, n, d, 1)
        return lambda x: (real, sphere(rng, n, d, x))

    return draw


def _of_size(x: float, n: int) -> int:
    return max(int(x * n / SIZE), 1)


def _moved_cube(rng: Generator, n: int, d: int) -> Array:
    start = 1 - SHARED ** (1 / d)
    return rng.uniform(start, start + 1, (n, d))


def cubes(d: int) -> Callable[[Generator, int], Pairs]:
    """x points of either cube."""

    def draw(rng: Generator, n: int) -> Pairs:
        def pair(x: float) -> tuple[Array, Array]:
            size = _of_size(x, n)
            return rng.uniform(size=(size, d)), _moved_cube(rng, size, d)

        return pair

    return draw


def more_samples(d: int) -> Callable[[Generator, int], Pairs]:
    """x samples in the moved cube."""

    def draw(rng: Generator, n: int) -> Pairs:
        real = rng.uniform(size=(n, d))
        return lambda x: (real, _moved_cube(rng, _of_size(x, n), d))

    return draw


def ball_or_torus(*, real_ball: bool) -> Callable[[Generator, int], Pairs]:
    """A ball within the hole of a torus, one of them real, and x samples of the other."""

    def draw(rng: Generator, n: int) -> Pairs:
        if real_ball:
            inner = ball(rng, n, 3, BALL_RADIUS)
            return lambda x: (inner, torus(rng, _of_size(x, n)))
        outer = torus(rng, n)
        return lambda x: (outer, ball(rng, _of_size(x, n), 3, BALL_RADIUS))

    return draw


UNIFORMS = (
    SanityCheck(
        "uniform-hypersphere-surface",
        "radius of a sphere",
        dimensions(grown, dict.fromkeys((2, 16, 128), RADII), keep=1.0),
        (
            CheckRequirement("bounds", "1 where identical", value(1, 1)),
            CheckRequirement("bounds", "0 for a small radius", value(LEFT, 0)),
            CheckRequirement("bounds", "0 for a large radius", value(RIGHT, 0)),
            CheckRequirement("purpose", "bell", bell(1)),
        ),
    ),
    SanityCheck(
        "uniform-hypercube-varying-size",
        "cubes, number of points",
        dimensions(cubes, dict.fromkeys((1, 8, 64), SIZES)),
        (
            CheckRequirement("data size", "flat from the middle", flat_from(MEDIAN_SIZE)),
            CheckRequirement("purpose", "the shared volume", value(RIGHT, SHARED)),
        ),
    ),
    SanityCheck(
        "uniform-hypercube-varying-syn-size",
        "cubes, number of samples",
        dimensions(more_samples, dict.fromkeys((1, 8, 64), SIZES)),
        (
            CheckRequirement("hyperparameters", "flat from the middle", flat_from(MEDIAN_SIZE)),
            CheckRequirement("purpose", "the shared volume", value(RIGHT, SHARED)),
        ),
    ),
    SanityCheck(
        "sphere-torus",
        "ball within a torus",
        (
            ParameterSweep("real ball", tuple(SIZES), ball_or_torus(real_ball=True)),
            ParameterSweep("real torus", tuple(SIZES), ball_or_torus(real_ball=False)),
        ),
        (
            CheckRequirement("bounds", "0 with the most samples", value(RIGHT, 0)),
            CheckRequirement("purpose", "flat from the middle", flat_from(MEDIAN_SIZE)),
        ),
    ),
)
