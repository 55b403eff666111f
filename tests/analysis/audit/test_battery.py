"""The battery at small size: every check runs, verdicts follow the curves, and published ones come out."""

import numpy as np
import pytest
import torch

from latentbench.analysis.audit.battery import CHECKS, BatterySize, judge, run, standardised, tasks
from latentbench.analysis.audit.measures import FAMILIES
from latentbench.analysis.audit.verdicts import PUBLISHED, differences, rows, tables

SMALL = BatterySize(size=60, repeats=1, thinned=True)
QUICK_FAMILIES = [name for name in FAMILIES if name != "overlap"]
INVENTION = "gaussian-mixture-mode-dropping-invention"


def test_there_are_fifteen_checks_with_two_desiderata_each():
    assert len(CHECKS) == 15
    assert {name: list(check.desiderata) for name, check in CHECKS.items()} == {
        name: list(desiderata) for name, desiderata in PUBLISHED.items()
    }


def test_the_published_passes_are_18_and_13_of_30():
    letters = [word for desiderata in PUBLISHED.values() for word in desiderata.values()]
    density, coverage = (sum(word[index] != "F" for word in letters) for index in (1, 3))
    assert (len(letters), density, coverage) == (30, 18, 13)


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_gives_every_measure_a_verdict(name):
    """At this size the smallest sets of a sweep over sizes have 6 points, too few for some measures."""
    cells = run([name], QUICK_FAMILIES, SMALL)
    judged = sum(len(kinds) for family in QUICK_FAMILIES for kinds in FAMILIES[family].measures.values())
    assert len(cells) == 2 * judged
    assert all(cell.verdict == "fail" for cell in cells if cell.failed)
    if not name.endswith(("-size", "-torus")):
        assert "unmeasured" not in {cell.verdict for cell in cells}


def test_overlap_is_unmeasured_where_points_are_too_few():
    cells = run([INVENTION], ["overlap"], BatterySize(size=50, repeats=1, thinned=True))
    assert {cell.verdict for cell in cells} == {"unmeasured"}


def _curves(values):
    """One repeat of values for every sweep of the Gaussian that moves, as if of clipped density."""
    check = CHECKS["gaussian-mean-difference"]
    measures = ("clipped density", "clipped coverage")
    return check, {
        (check.name, sweep.setting, m): values(np.array(sweep.x)) for sweep in check.sweeps for m in measures
    }


def test_an_ideal_measure_passes_and_a_blind_one_fails():
    check, ideal = _curves(lambda x: np.exp(-((8 * x / x[-1]) ** 2))[None])
    assert {cell.verdict for cell in judge(check, ["clipped"], ideal, BatterySize())} == {"pass"}
    check, blind = _curves(lambda x: np.ones((1, len(x))))
    found = {cell.desideratum: cell for cell in judge(check, ["clipped"], blind, BatterySize())}
    assert found["purpose"].failed == ("bell (D = 1)", "bell (D = 8)", "bell (D = 64)")
    assert "1 where identical (D = 1)" not in found["bounds"].failed


def test_support_is_the_share_of_resamples_that_agree():
    """Nine repeats of ten are ideal and the tenth lowers the mean: whether that matters is chance."""

    def values(x):
        ideal = np.exp(-((8 * x / x[-1]) ** 2))
        return np.array([ideal] * 9 + [ideal - 0.5])

    check, curves = _curves(values)
    cell = next(
        cell for cell in judge(check, ["clipped"], curves, BatterySize()) if cell.desideratum == "bounds"
    )
    # Without the tenth repeat, or with it once, the mean stays within 0.05: (1 − 1/10)^10 + 10/10 (9/10)^9.
    assert cell.verdict == "pass"
    assert cell.support == pytest.approx(0.9**10 + 0.9**9, abs=0.15)


def test_a_verdict_does_not_depend_on_jobs_or_company():
    alone = run([INVENTION], ["clipped"], SMALL)
    together = run([INVENTION], ["neighbours", "clipped"], SMALL, jobs=2)
    assert alone == [cell for cell in together if cell.measure.startswith("clipped")]


def test_expensive_families_take_part_in_fewer_repeats():
    todo = tasks([INVENTION], ["neighbours", "overlap"], BatterySize(repeats=3))
    assert [task.families for task in todo] == [("neighbours", "overlap"), ("neighbours",), ("neighbours",)]


def test_points_are_standardised_by_the_real_ones():
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(5, 3, (50, 2)), np.full((50, 1), 7.0)], axis=1)
    scaled, samples = standardised(real, real + np.array([3, 0, 1]))
    assert scaled.mean(0) == pytest.approx([0, 0, 0], abs=1e-12)
    assert scaled.std(0, correction=0) == pytest.approx([1, 1, 0])
    assert torch.allclose(samples - scaled, torch.tensor([3 / real[:, 0].std(), 0, 1]))


def test_published_verdicts_on_dropped_modes_are_reproduced():
    cells = run([INVENTION], ["neighbours"], BatterySize(repeats=3))
    assert differences(cells) == ["8 of 8 published verdicts came out."]
    (fidelity, diversity) = tables(cells).values()
    assert [list(line.values())[2:] for line in fidelity] == [["✓", "✓"], ["✓", "✓"], [2, 2]]
    assert [list(line.values())[2:] for line in diversity] == [["✓", "✗"], ["✓", "✗"], [2, 0]]
    failed = {row["failed"] for row in rows(cells) if row["measure"] == "coverage"}
    assert failed == {"1 with invented modes", "rises"}


@pytest.mark.slow
def test_firm_published_verdicts_come_out():
    """All that a resample of ten repeats nearly always confirms; the others depend on the draws."""
    names = [name for name in CHECKS if not name.startswith("uniform-hyper")]
    cells = run(names, ["neighbours"], BatterySize())
    assert not [cell for cell in cells if cell.differs and (cell.support or 0) > 0.99]
