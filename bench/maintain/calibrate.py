"""What the coverage measures say where the answer is known: the table in docs/metrics.md.

    python -m latentbench.bench.maintain.calibrate docs/metrics.md

Codes and reference are drawn from densities whose overlap is closed form, as many as the analysis uses, from
five seeds at 2 to 256 dimensions. About three minutes on two cores.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from latentbench.analysis.latent.dead_zones import CLASSIFIED, POINTS, dead_zone_mass, overlap_coverage
from latentbench.bench.text import markdown
from latentbench.models.seeds import generator

DIMENSIONS, SEEDS = (2, 8, 32, 128, 256), range(5)
SHRUNK = 0.9
WEDGE = 0.2
BLOCK = "calibration"


@dataclass(frozen=True)
class Known:
    """Codes `[n, d]` from a seed, held against N(0, I); the dead zone and the overlap they ought to score.

    `dead_zone` is None where the measure's definition gives no closed form.
    """

    name: str
    dimensions: tuple[int, ...]
    codes: Callable[[int, int, int], Tensor]
    overlap: Callable[[int], float]
    dead_zone: float | None


def gaussian(n: int, d: int, seed: int, purpose: str = "codes") -> Tensor:
    """Draws of N(0, I), `[n, d]`."""
    return torch.randn(n, d, generator=generator(seed, "calibrate", purpose))


def without_wedge(n: int, d: int, seed: int) -> Tensor:
    """N(0, I) in the plane with a fifth of all directions cut out, `[n, 2]`."""
    z = gaussian(2 * n, d, seed)
    return z[torch.atan2(z[:, 1], z[:, 0]) > -math.pi + WEDGE * 2 * math.pi][:n]


def shrunk_overlap(d: int) -> float:
    """1 − total variation of N(0, I) and N(0, `SHRUNK`² I): they are equally dense at one radius."""
    precision = SHRUNK**-2
    squared_radius = d * math.log(precision) / (precision - 1)
    inside = stats.chi2(d).cdf
    return float(1 - (inside(squared_radius * precision) - inside(squared_radius)))


KNOWN = (
    Known("no gap", DIMENSIONS, gaussian, lambda _: 1.0, 0.0),
    Known("shrunk to σ = 0.9", DIMENSIONS, lambda n, d, s: SHRUNK * gaussian(n, d, s), shrunk_overlap, None),
    Known(
        "mean shifted by 1",
        DIMENSIONS,
        lambda n, d, s: gaussian(n, d, s) + 1 / math.sqrt(d),
        lambda _: 2 * float(stats.norm.cdf(-0.5)),
        None,
    ),
    Known("a fifth of all directions cut out", (2,), without_wedge, lambda _: 1 - WEDGE, WEDGE),
)


@dataclass(frozen=True)
class Line:
    """What was measured of one known case: the values of all seeds, and what is true."""

    known: Known
    dimensions: int
    dead_zones: tuple[float, ...]
    overlaps: tuple[float, ...]


def measure(known: Known, dimensions: int) -> Line:
    """Every seed of one case."""
    pairs = []
    for seed in SEEDS:
        codes = known.codes(2 * CLASSIFIED, dimensions, seed)
        reference = gaussian(2 * CLASSIFIED, dimensions, seed, "reference")
        gap = dead_zone_mass(codes[: 2 * POINTS], reference[: 2 * POINTS], seed=seed)
        pairs.append((gap.value, overlap_coverage(codes, reference, seed=seed).value))
    dead_zones, overlaps = zip(*pairs, strict=True)
    return Line(known, dimensions, dead_zones, overlaps)


def table(lines: Iterator[Line]) -> str:
    """The Markdown table."""
    cells = []
    for line in lines:
        known = line.known
        true = "–" if known.dead_zone is None else f"{known.dead_zone:.3f}"
        overlap = f"{known.overlap(line.dimensions):.3f}"
        measured = _spread(line.dead_zones), _spread(line.overlaps)
        cells.append([known.name, str(line.dimensions), true, measured[0], overlap, measured[1]])
    header = ["codes against N(0, I)", "D", "dead zone: true", "measured", "overlap: true", "measured"]
    note = (
        f"Mean over {len(SEEDS)} seeds and, in brackets, the smallest and the largest; {2 * POINTS:,} codes "
        f"for the dead zone and {2 * CLASSIFIED:,} for the overlap, as the analysis takes them. A measured "
        "overlap above the true one is what the classifier missed: no gap is overstated beyond chance."
    )
    return f"{markdown.table(header, cells, align='lr')}\n\n{note}"


def _spread(values: tuple[float, ...]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """Rewrite the table in the file that is named."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m latentbench.bench.maintain.calibrate docs/metrics.md")
    path = Path(sys.argv[1])
    content = table(measure(known, d) for known in KNOWN for d in known.dimensions)
    text = markdown.with_blocks(path.read_text(encoding="utf-8"), {BLOCK: content}, path.name)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(content + "\n")


if __name__ == "__main__":
    main()
