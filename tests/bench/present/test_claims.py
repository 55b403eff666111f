"""Verdicts follow from intervals alone, and a claim without its numbers has a reason."""

import pytest

from latentbench.analysis.catalogue import METRICS
from latentbench.bench.present.claims import CLAIMS, Claim, Term, finding, findings
from latentbench.bench.present.rows import rows as rows_of
from latentbench.models.zoo import model_spec


@pytest.fixture
def rows(make_record):
    """Rows of made-up records: `rows({"ae-16": [metrics of seed 0, of seed 1 …]})`."""

    def make(models):
        records = []
        for label, seeds in models.items():
            family, width = label.split("-")
            for seed, values in enumerate(seeds):
                metrics = tuple(
                    METRICS[name].measured(value, se=se, n=10_000)
                    if value is not None
                    else METRICS[name].missing("a reason")
                    for name, (value, se) in values.items()
                )
                spec = model_spec(family=family, latent_dim=int(width))
                record = make_record(seed=seed).model_copy(update={"model": spec, "metrics": metrics})
                records.append(record)
        return rows_of(records)

    return make


CLAIM = Claim("s", "e", Term("ae-2", "mse"), Term("ae-16", "mse"))


def test_several_seeds_are_paired(rows):
    """The differences 1.0, 1.1, 1.2 have a small spread, though the values do not."""
    table = rows(
        {
            "ae-2": [{"mse": (value, 0.5)} for value in (2.0, 5.1, 9.2)],
            "ae-16": [{"mse": (value, 0.5)} for value in (1.0, 4.0, 8.0)],
        }
    )
    found = finding(CLAIM, table)
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
    found = finding(Claim("s", "e", CLAIM.term, CLAIM.minus, bound=bound), table)
    assert found.effect.interval == pytest.approx((difference - 0.098, difference + 0.098))
    assert (found.verdict, found.n) == (verdict, "1 seed, 10,000 images")


def test_one_seed_without_an_error_is_inconclusive(rows):
    found = finding(Claim("s", "e", CLAIM.term), rows({"ae-2": [{"mse": (0.5, None)}]}))
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
    found = finding(CLAIM, rows(models))
    assert (found.verdict, found.effect, found.reason) == ("not measured", None, reason)


def test_a_run_of_other_models_has_nofindings(rows):
    assert findings(rows({"pca-3": [{"mse": (1.0, 0.1)}]})) == []


def test_every_claim_names_a_known_metric():
    for claim in CLAIMS:
        for term in (claim.term, claim.minus):
            assert term is None or term.metric in METRICS
