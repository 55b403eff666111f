"""The table of known answers."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from latentbench.bench.studies.calibrate import (
    KNOWN,
    SHRUNK,
    CalibrationLine,
    coverage_table,
    shrunk_overlap,
    table,
)


def test_the_shrunk_overlap_is_the_integral():
    """∫ min(p, q) of N(0, 1) and N(0, 0.9²) by quadrature."""
    z = np.linspace(-12, 12, 400_001)
    densities = norm.pdf(z), norm.pdf(z, scale=SHRUNK)
    assert shrunk_overlap(1) == pytest.approx(np.minimum(*densities).sum() * (z[1] - z[0]), abs=1e-6)
    assert 1 - shrunk_overlap(2) == pytest.approx(0.077, abs=5e-4)
    assert 1 - shrunk_overlap(32) == pytest.approx(0.325, abs=5e-4)


def test_the_table_says_what_is_true_and_what_was_measured():
    line = CalibrationLine(KNOWN[-1], 2, (0.18, 0.2, 0.22), (0.8, 0.81, 0.82))
    assert "| 2 | 0.200 | 0.200 (0.180 to 0.220) | 0.800 | 0.810 (0.800 to 0.820) |" in table(iter([line]))


def test_coverage_compares_intervals_with_the_mean_over_seeds():
    """Deviations of −1, 0 and 1 and errors of 1, 1 and 0.4: two of three intervals reach the mean."""
    shown = coverage_table(iter([("cube", 2, np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.4]))]))
    assert "| cube | 2 | 1.000 | 1.18 | 67% |" in shown
    assert "3 seeds" in shown


def test_the_documented_table_has_every_known_case():
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    text = text.partition("<!-- begin calibration -->")[2].partition("<!-- end calibration -->")[0]
    assert [
        line.split(" | ")[:2] for line in text.splitlines() if " to " in line and line.startswith("| ")
    ] == [[f"| {known.name}", str(d)] for known in KNOWN for d in known.dimensions]
