"""Verdicts follow from intervals alone, and a claim without its numbers has a reason."""

import math
from dataclasses import replace

import pytest

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.core.ensemble import judge_error
from latentbench.bench.present.claims.effects import outcome
from latentbench.bench.present.claims.statements import CLAIMS, Claim, one, rising
from latentbench.bench.present.rows import rows as rows_of


@pytest.fixture
def rows(records):
    """Rows of made-up records, see `records`."""
    return lambda models: rows_of(records(models))


CLAIM = Claim("s", "e", one("mse", "ae-2", "ae-16"))


def test_several_seeds_are_paired(rows):
    """The differences 1.0, 1.1, 1.2 have a small spread, though the values do not."""
    table = rows(
        {
            "ae-2": [{"mse": (value, 0.01)} for value in (2.0, 5.1, 9.2)],
            "ae-16": [{"mse": (value, 0.01)} for value in (1.0, 4.0, 8.0)],
        }
    )
    found = outcome(CLAIM, table)
    assert found.effect.value == pytest.approx(1.1)
    assert found.effect.interval == pytest.approx((1.1 - 0.2484, 1.1 + 0.2484), abs=1e-4)
    assert (found.verdict, found.n, found.shown) == ("supported", "3 seeds", "1.10 [0.85, 1.35]")


@pytest.mark.parametrize(
    ("difference", "bound", "verdict"),
    [
        (0.10, 0.0, "supported"),
        (-0.10, 0.0, "not supported"),
        (0.02, 0.0, "inconclusive"),
        (0.10, 0.2, "not supported"),
        (-0.10, -0.2, "supported"),
    ],
)
def test_one_seed_uses_the_standard_error_of_its_images(rows, difference, bound, verdict):
    table = rows({"ae-2": [{"mse": (0.5 + difference, 0.03)}], "ae-16": [{"mse": (0.5, 0.04)}]})
    found = outcome(Claim("s", "e", CLAIM.contrasts, bound=bound), table)
    assert found.effect.interval == pytest.approx((difference - 0.098, difference + 0.098))
    assert (found.verdict, found.n) == (verdict, "1 seed, 10,000 images")


@pytest.mark.parametrize(
    ("error", "verdict"), [(None, "inconclusive"), (0.06, "inconclusive"), (0.01, "supported")]
)
def test_equal_seeds_do_not_decide_by_themselves(rows, error, verdict):
    """Three differences of 0.05: no spread over seeds, but each is only as exact as it was measured."""
    table = rows({"ae-2": [{"mse": (0.55, error)}] * 3, "ae-16": [{"mse": (0.5, error)}] * 3})
    found = outcome(CLAIM, table)
    assert (found.verdict, found.n) == (verdict, "3 seeds")


def test_one_seed_without_an_error_is_inconclusive(rows):
    found = outcome(Claim("s", "e", one("mse", "ae-2")), rows({"ae-2": [{"mse": (0.5, None)}]}))
    assert (found.verdict, found.effect.value, found.effect.interval) == ("inconclusive", 0.5, None)


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ({"ae-2": [{"mse": (1.0, 0.1)}]}, "no ae-16 in this run"),
        ({"ae-2": [{"mse": (None, None)}], "ae-16": [{"mse": (1.0, 0.1)}]}, "mse of ae-2: a reason"),
        (
            {
                "ae-2": [{"mse": (1.0, 0.1)}, {"mse": (None, None)}],
                "ae-16": [{"mse": (None, None)}, {"mse": (1.0, 0.1)}],
            },
            "ae-2 and ae-16 share no seed",
        ),
    ],
)
def test_a_missing_number_is_not_measured(rows, models, reason):
    found = outcome(CLAIM, rows(models))
    assert (found.verdict, found.effect, found.reason) == ("not measured", None, reason)


TREND = Claim("s", "e", rising("mse", "ae-2", "ae-8", "ae-16"))


@pytest.mark.parametrize(
    ("values", "verdict", "smallest"),
    [
        ((1.0, 2.0, 3.5), "supported", "ae-8, less ae-2"),
        # The ends rise, and a step does not.
        ((1.0, 3.0, 2.0), "not supported", "ae-16, less ae-8"),
        ((1.0, 3.0, 3.01), "inconclusive", "ae-16, less ae-8"),
    ],
)
def test_a_trend_is_supported_if_every_step_is(rows, values, verdict, smallest):
    models = ("ae-2", "ae-8", "ae-16")
    table = rows({model: [{"mse": (value, 0.1)}] for model, value in zip(models, values, strict=True)})
    found = outcome(TREND, table)
    assert (found.verdict, found.step) == (verdict, smallest)


def test_a_trend_without_one_of_its_models_is_not_measured(rows):
    table = rows({model: [{"mse": (value, 0.1)}] for model, value in (("ae-2", 1.0), ("ae-16", 3.0))})
    assert outcome(TREND, table).verdict == "not measured"


def test_a_doubted_value_decides_nothing(records, contended):
    first, second = records({"ae-2": [{"mse": (1.0, 0.1)}], "ae-16": [{"mse": (0.5, 0.1)}]})
    found = outcome(CLAIM, rows_of([contended(first, "mse"), second]))
    assert (found.verdict, found.reason) == ("not measured", "mse of ae-2: waited for a core")


def test_what_seeds_share_widens_the_interval(records):
    made = records({"ae-2": [{"mse": (value, 0.1)} for value in (0.9, 1.0, 1.1)]})
    shared = [
        record.model_copy(update={"metrics": (replace(record.metrics[0], common_se=1.0),)}) for record in made
    ]
    claim = Claim("s", "e", one("mse", "ae-2"))
    narrow, wide = (outcome(claim, rows_of(each)).effect.half_width for each in (made, shared))
    assert wide == pytest.approx((narrow**2 + 1.96**2) ** 0.5)


@pytest.mark.parametrize(
    ("by_judge", "spread"), [((9.0, 19.0, 29.0), 0.0), ((9.0, 20.0, 31.0), 2.4841)], ids=["alike", "apart"]
)
def test_judges_that_see_both_models_are_paired(records, with_judges, by_judge, spread):
    """The differences by judge are 1, 1, 1 or 1, 0, −1: their spread counts, not that of the values."""

    def judged(record, values):
        (metric,) = with_judges(record, "mse", values).metrics
        error = math.hypot(0.3, judge_error(values))
        return record.model_copy(update={"metrics": (replace(metric, se=error, common_se=error),)})

    first, second = records({"ae-2": [{"mse": (20.0, 1.0)}], "ae-16": [{"mse": (19.0, 1.0)}]})
    table = rows_of([judged(first, (10.0, 20.0, 30.0)), judged(second, by_judge)])
    images = 1.96 * 0.3 * 2**0.5
    assert outcome(CLAIM, table).effect.half_width == pytest.approx(math.hypot(images, spread), rel=1e-4)


def test_every_claim_names_known_metrics():
    assert {term.metric for claim in CLAIMS for term in claim.terms} <= set(METRICS)
