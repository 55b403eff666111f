"""Measures gaps of known densities: the calibration table in docs/metrics.md.

    python -m latentbench.bench.studies.calibrate docs/metrics.md

Codes are drawn from known densities, as many as the analysis uses, and compared with N(0, I) or with the
Gaussian of their own moments, at several seeds. About ten minutes on two cores.

    python -m latentbench.bench.studies.calibrate docs/metrics.md --coverage 20

writes how often the overlap's 95 % interval covers the mean over 20 seeds, with fewer codes and cases.

    python -m latentbench.bench.studies.calibrate docs/metrics.md --sizes

writes the dead zone of fewer and of more codes, without holes and with one.
The known densities, each with its closed form or Monte Carlo, make this file long.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special, stats
from torch import Tensor
from torch.nn.functional import normalize

from latentbench.analysis.latent.dead_zones import (
    Gap,
    MassEstimate,
    beyond_null,
    dead_zone_mass,
    null_gaps,
)
from latentbench.analysis.latent.density_gaps import CLASSIFIED, POINTS
from latentbench.analysis.latent.overlap import overlap_coverage
from latentbench.analysis.statistics.intervals import NORMAL_95
from latentbench.analysis.statistics.moments import moment_matched
from latentbench.bench.text import markdown
from latentbench.models.seeds import generator

SEEDS = range(3)
ALL, SOME = (2, 12, 48, 128), (2, 12, 48)
SHRUNK = 0.9
WEDGE = 0.2
MONTE_CARLO = 40_000
SHELL = (0.8, 1.2)
DEGREES = 3
"""Degrees of freedom of Student's t."""
BLOCK, COVERAGE_BLOCK, SIZES_BLOCK = "calibration", "overlap coverage", "dead zones by number of codes"
COVERAGE_CODES = 4_000
COVERAGE_CASES = ("no gap", "uniform cube", "ten clusters at radius 6", "Student t (3)")
COVERAGE_DIMENSIONS = (2, 12, 48, 128)
SIZES = (1_000, 4_000, 20_000)
WHOLE_CASES = ("no gap", "uniform ball (disc)", "uniform cube", "Student t (3)")
HOLE = 0.3
"""The share of a Gaussian that the hole in its middle takes."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """Codes `[n, d]` from a seed whose overlap with the reference is known.

    `own_moments` is True if the reference is the Gaussian of the codes' moments, False for N(0, I).
    `dead_zone` is None if the measure's definition gives no closed form.
    """

    name: str
    dimensions: tuple[int, ...]
    codes: Callable[[int, int, int], Tensor]
    overlap: Callable[[int], float]
    dead_zone: float | None
    own_moments: bool = True


def gaussian(n: int, d: int, seed: int, purpose: str = "codes") -> Tensor:
    """Draw from N(0, I), `[n, d]`."""
    return torch.randn(n, d, generator=generator(seed, "calibrate", purpose))


def without_wedge(n: int, d: int, seed: int) -> Tensor:
    """Draw from N(0, I) in the plane with a fifth of all directions cut out, `[n, 2]`."""
    z = gaussian(2 * n, d, seed)
    return z[torch.atan2(z[:, 1], z[:, 0]) > -math.pi + WEDGE * 2 * math.pi][:n]


def shrunk_overlap(d: int) -> float:
    """Compute 1 − total variation of N(0, I) and N(0, `SHRUNK`² I): they are equally dense at one radius."""
    precision = SHRUNK**-2
    squared_radius = d * math.log(precision) / (precision - 1)
    inside = stats.chi2(d).cdf
    return float(1 - (inside(squared_radius * precision) - inside(squared_radius)))


def hollow(n: int, d: int, seed: int) -> Tensor:
    """Draw from N(0, I) without the `HOLE` of its mass that is nearest to the origin, `[n, d]`."""
    z = gaussian(2 * n, d, seed)
    return z[z.norm(dim=1) > math.sqrt(stats.chi2(d).ppf(HOLE))][:n]


def _uniform(n: int, d: int, seed: int) -> Tensor:
    return torch.rand(n, d, generator=generator(seed, "calibrate", "uniform"))


def _direction(n: int, d: int, seed: int) -> Tensor:
    return normalize(gaussian(n, d, seed), dim=1)


def two_clusters(n: int, d: int, seed: int) -> Tensor:
    """Draw from unit Gaussians at ±4 on the first axis, `[n, d]`."""
    z = gaussian(n, d, seed)
    z[:, 0] += 4 * (2 * (_uniform(n, 1, seed)[:, 0] > 0.5) - 1)
    return z


def _two_clusters_overlap(_d: int) -> float:
    z = two_clusters(MONTE_CARLO, 1, 999)[:, 0].double().numpy()
    codes = np.logaddexp(stats.norm.logpdf(z - 4), stats.norm.logpdf(z + 4)) - math.log(2)
    return _overlap(stats.norm.logpdf(z, scale=math.sqrt(17)), codes)


def _centres(d: int) -> Tensor:
    return 6 * _direction(10, d, 7)


def ten_clusters(n: int, d: int, seed: int) -> Tensor:
    """Draw from unit Gaussians about ten fixed points at distance 6 from the origin, `[n, d]`."""
    chosen = (10 * _uniform(n, 1, seed)[:, 0]).long()
    return _centres(d)[chosen] + gaussian(n, d, seed)


def _ten_clusters_overlap(d: int) -> float:
    z, centres = ten_clusters(MONTE_CARLO, d, 999).double().numpy(), _centres(d).double().numpy()
    codes = special.logsumexp(-((z[:, None] - centres) ** 2).sum(2) / 2, axis=1) - math.log(10)
    spread = np.eye(d) + np.cov(centres.T, bias=True)
    factor = np.linalg.cholesky(spread)
    white = np.linalg.solve(factor, (z - centres.mean(0)).T)
    return _overlap(-(white**2).sum(0) / 2 - np.log(np.diag(factor)).sum(), codes)


def cube(n: int, d: int, seed: int) -> Tensor:
    """Draw uniformly from a cube, with variance 1 along each axis, `[n, d]`."""
    return math.sqrt(3) * (2 * _uniform(n, d, seed) - 1)


def _cube_overlap(d: int) -> float:
    z = cube(MONTE_CARLO, d, 999).double().numpy()
    return _overlap(stats.norm.logpdf(z).sum(1), np.full(len(z), -d * math.log(2 * math.sqrt(3))))


def ball(n: int, d: int, seed: int) -> Tensor:
    """Draw uniformly from a ball, which is a disc if d = 2, `[n, d]`."""
    return math.sqrt(d + 2) * _direction(n, d, seed) * _uniform(n, 1, seed) ** (1 / d)


def _ball_overlap(d: int) -> float:
    radius = ball(MONTE_CARLO, d, 999).norm(dim=1).double().numpy()
    edge = math.sqrt(d + 2)
    codes = math.log(d) + (d - 1) * np.log(radius / edge) - math.log(edge)
    return _overlap(stats.chi(d).logpdf(radius), codes)


def shell(n: int, d: int, seed: int) -> Tensor:
    """Draw a radius uniform from 0.8 to 1.2 of √d and any direction, `[n, d]`: a hole in the middle."""
    low, high = SHELL
    return math.sqrt(d) * _direction(n, d, seed) * (low + (high - low) * _uniform(n, 1, seed))


def _shell_overlap(d: int) -> float:
    low, high = SHELL
    radius = shell(MONTE_CARLO, d, 999).norm(dim=1).double().numpy()
    deviation = math.sqrt((low**2 + low * high + high**2) / 3)
    codes = np.full(len(radius), -math.log((high - low) * math.sqrt(d)))
    return _overlap(stats.chi(d, scale=deviation).logpdf(radius), codes)


def student(n: int, d: int, seed: int) -> Tensor:
    """Draw from a multivariate Student t with 3 degrees of freedom, `[n, d]`."""
    draws = np.random.default_rng(seed).chisquare(DEGREES, (n, 1)) / DEGREES
    return gaussian(n, d, seed) / torch.from_numpy(draws).float().sqrt()


def _student_overlap(d: int) -> float:
    radius = student(MONTE_CARLO, d, 999).norm(dim=1).double().numpy()
    codes = stats.f(d, DEGREES).logpdf(radius**2 / d) + np.log(2 * radius / d)
    return _overlap(stats.chi(d, scale=math.sqrt(3)).logpdf(radius), codes)


def students(n: int, d: int, seed: int) -> Tensor:
    """Draw from an independent Student t with 3 degrees of freedom in every coordinate, `[n, d]`."""
    return torch.from_numpy(np.random.default_rng(seed).standard_t(DEGREES, (n, d))).float()


def _students_overlap(d: int) -> float:
    z = students(MONTE_CARLO, d, 999).double().numpy()
    return _overlap(stats.norm.logpdf(z, scale=math.sqrt(3)).sum(1), stats.t(DEGREES).logpdf(z).sum(1))


def correlated(draw: Callable[[int, int, int], Tensor]) -> Callable[[int, int, int], Tensor]:
    """Map draws by a fixed matrix that stretches one direction ten times; it changes no overlap."""

    def mapped(n: int, d: int, seed: int) -> Tensor:
        left, right = (torch.linalg.qr(gaussian(d, d, 0, side)).Q for side in ("left", "right"))
        stretched: Tensor = draw(n, d, seed) @ (left * torch.logspace(0, 1, d)) @ right
        return stretched

    return mapped


def _overlap(log_reference: Array, log_codes: Array) -> float:
    """Estimate ∫ min(p, q) by Monte Carlo: the mean of min(1, p/q) over draws of q."""
    return float(np.minimum(1, np.exp(log_reference - log_codes)).mean())


KNOWN = (
    Known("no gap", ALL, gaussian, lambda _: 1.0, 0.0),
    Known("uniform ball (disc)", SOME, ball, _ball_overlap, 0.0),
    Known("uniform cube", ALL, cube, _cube_overlap, 0.0),
    Known("Student t (3)", ALL, student, _student_overlap, 0.0),
    Known("independent Student t (3)", ALL, students, _students_overlap, 0.0),
    Known("shell from 0.8 to 1.2", ALL, shell, _shell_overlap, None),
    Known("two clusters at ±4", ALL, two_clusters, _two_clusters_overlap, None),
    Known("ten clusters at radius 6", ALL, ten_clusters, _ten_clusters_overlap, None),
    Known("correlated uniform cube", (2, 12, 48), correlated(cube), _cube_overlap, 0.0),
    Known("correlated Student t (3)", (2, 12, 48), correlated(student), _student_overlap, 0.0),
    Known("correlated two clusters", (2, 12, 48), correlated(two_clusters), _two_clusters_overlap, None),
    Known("correlated ten clusters", (2, 12, 48), correlated(ten_clusters), _ten_clusters_overlap, None),
    Known(
        "N(0, I): shrunk to σ = 0.9",
        ALL,
        lambda n, d, s: SHRUNK * gaussian(n, d, s),
        shrunk_overlap,
        None,
        own_moments=False,
    ),
    Known(
        "N(0, I): mean shifted by 1",
        ALL,
        lambda n, d, s: gaussian(n, d, s) + 1 / math.sqrt(d),
        lambda _: 2 * float(stats.norm.cdf(-0.5)),
        None,
        own_moments=False,
    ),
    Known(
        "N(0, I): a fifth of all directions cut out",
        (2,),
        without_wedge,
        lambda _: 1 - WEDGE,
        WEDGE,
        own_moments=False,
    ),
)


@dataclass(frozen=True)
class CalibrationLine:
    """The result of one known case: the values of all seeds, and the true value."""

    known: Known
    dimensions: int
    dead_zones: tuple[float, ...]
    overlaps: tuple[float, ...]


def measure(known: Known, dimensions: int) -> CalibrationLine:
    """Measure every seed of one case."""
    pairs = []
    for seed in SEEDS:
        codes = known.codes(2 * CLASSIFIED, dimensions, seed)
        draws = gaussian(2 * CLASSIFIED, dimensions, seed, "reference")
        reference = moment_matched(codes, draws) if known.own_moments else draws
        few, few_draws = codes[: 2 * POINTS], reference[: 2 * POINTS]
        if known.own_moments:
            zone = dead_zone_beyond_null(few, few_draws, seed)
        else:
            zone = dead_zone_mass(few, few_draws, seed=seed)
        pairs.append((zone.value, overlap_coverage(codes, reference, seed=seed).value))
    dead_zones, overlaps = zip(*pairs, strict=True)
    return CalibrationLine(known, dimensions, dead_zones, overlaps)


def dead_zone_beyond_null(codes: Tensor, reference: Tensor, seed: int) -> MassEstimate:
    """Measure the dead zone of codes `[n, d]` as the analysis does, with its standard error."""
    gap = Gap.of(codes, reference, seed=seed)
    return beyond_null(gap, null_gaps(codes, reference, seed=seed))


def sizes_table() -> str:
    """Return the dead zones of several numbers of codes without holes, and with one, as Markdown."""
    cases = {known.name: known.codes for known in KNOWN if known.name in WHOLE_CASES}
    cases[f"N(0, I) without the {HOLE:.0%} in its middle"] = hollow
    cells = [
        [name, str(d), *(_at_size(codes, d, n) for n in SIZES)] for name, codes in cases.items() for d in SOME
    ]
    header = ["codes", "D", *(f"{n:,} codes" for n in SIZES)]
    note = (
        f"Mean over {len(SEEDS)} seeds and, in brackets, the smallest and the largest. Bold: the lower bound "
        "of the 95 % interval is above 0 in every seed."
    )
    return f"{markdown.table(header, cells, align='lr')}\n\n{note}"


def _at_size(codes: Callable[[int, int, int], Tensor], d: int, n: int) -> str:
    found = []
    for seed in SEEDS:
        drawn = codes(n, d, seed)
        reference = moment_matched(drawn, gaussian(n, d, seed, "reference"))
        found.append(dead_zone_beyond_null(drawn, reference, seed))
    shown = _spread(tuple(each.value for each in found))
    detected = all(each.value - NORMAL_95 * each.se > 0 for each in found)
    return f"**{shown}**" if detected else shown


def table(lines: Iterator[CalibrationLine]) -> str:
    """Return the Markdown table."""
    cells = []
    for line in lines:
        known = line.known
        true = "–" if known.dead_zone is None else f"{known.dead_zone:.3f}"
        overlap = f"{known.overlap(line.dimensions):.3f}"
        measured = _spread(line.dead_zones), _spread(line.overlaps)
        cells.append([known.name, str(line.dimensions), true, measured[0], overlap, measured[1]])
    header = ["codes", "D", "dead zone: true", "measured", "overlap: true", "measured"]
    note = (
        f"Mean over {len(SEEDS)} seeds and, in brackets, the smallest and the largest; {2 * POINTS:,} codes "
        f"for the dead zone and {2 * CLASSIFIED:,} for the overlap, as in the analysis. Codes are "
        "compared with the Gaussian of their own moments; in rows that begin with N(0, I), with N(0, I)."
    )
    return f"{markdown.table(header, cells, align='lr')}\n\n{note}"


def overlaps(known: Known, dimensions: int, seeds: int) -> tuple[Array, Array]:
    """Estimate the overlap of fewer codes at many seeds: values and stated standard errors, `[seeds]`."""
    found = []
    for seed in range(seeds):
        codes = known.codes(COVERAGE_CODES, dimensions, seed)
        reference = moment_matched(codes, gaussian(COVERAGE_CODES, dimensions, seed, "reference"))
        found.append(overlap_coverage(codes, reference, fitted=True, seed=seed))
    return np.array([each.value for each in found]), np.array([each.se for each in found])


def coverage_table(cases: Iterator[tuple[str, int, Array, Array]]) -> str:
    """Return how often intervals cover the mean over seeds, as Markdown, from values and errors."""
    cells, seeds = [], 0
    for name, dimensions, values, errors in cases:
        seeds = len(values)
        covered = float((np.abs(values - values.mean()) <= NORMAL_95 * errors).mean())
        ratio = values.std(ddof=1) / math.sqrt(np.square(errors).mean())
        cells.append([name, str(dimensions), f"{values.mean():.3f}", f"{ratio:.2f}", f"{covered:.0%}"])
    header = ["codes", "D", "mean", "spread over seeds / stated error", "covered"]
    note = (
        f"{COVERAGE_CODES:,} codes compared with the Gaussian of their moments, {seeds} seeds: how often the "
        "overlap ± 1.96 standard errors covers the mean of all seeds."
    )
    return f"{markdown.table(header, cells, align='lr')}\n\n{note}"


def _spread(values: tuple[float, ...]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """Rewrite a table in the given file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--coverage", type=int, metavar="SEEDS", help="measure the overlap's interval alone")
    parser.add_argument(
        "--sizes", action="store_true", help="measure dead zones of more and fewer codes alone"
    )
    given = parser.parse_args()
    path: Path = given.file
    if given.sizes:
        block, content = SIZES_BLOCK, sizes_table()
    elif given.coverage:
        cases = [known for known in KNOWN if known.name in COVERAGE_CASES]
        pairs = [(known, d) for known in cases for d in COVERAGE_DIMENSIONS]
        measured = ((known.name, d, *overlaps(known, d, given.coverage)) for known, d in pairs)
        block, content = COVERAGE_BLOCK, coverage_table(measured)
    else:
        block, content = BLOCK, table(measure(known, d) for known in KNOWN for d in known.dimensions)
    text = markdown.with_blocks(path.read_text(encoding="utf-8"), {block: content}, path.name)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(content + "\n")


if __name__ == "__main__":
    main()
