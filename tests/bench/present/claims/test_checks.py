"""A verdict holds only where it survives every check that was measured."""

import re
from pathlib import Path

import pytest

from latentbench.analysis.catalogue import ANALYSES, METRICS
from latentbench.analysis.core.ensemble import over_judges
from latentbench.bench.present.claims.checks import SUITES, findings, judged_metrics, other_records
from latentbench.bench.present.claims.statements import CLAIMS, NO_GAP, OPTIONAL_CLAIMS, VARIANTS
from latentbench.bench.run import suite
from latentbench.bench.store.store import Store
from latentbench.models.families.codecs.weight_free import with_grid

ROOT = Path(__file__).parents[4]
RECONSTRUCTS_WORSE = next(claim for claim in CLAIMS if claim.statement.startswith("A VAE reconstructs"))
CANNOT_GENERATE = next(claim for claim in CLAIMS if "cannot generate" in claim.statement)


def of_mse(vae, ae):
    """Models of which the VAE's MSE is `vae`, the autoencoder's `ae`, with small errors."""
    return {"vae-16 β=1": [{"mse": (vae, 0.001)}], "ae-16": [{"mse": (ae, 0.001)}]}


def of_frechet(ae, vae, suffix=""):
    """Models with these Fréchet distances, in a feature space if a suffix names one."""
    return {
        "ae-16": [{f"frechet_gmm10{suffix}": (ae, 0.1)}],
        "vae-16 β=1": [{f"frechet_prior{suffix}": (vae, 0.1)}],
    }


def found(claim, main, others=()):
    (finding,) = (each for each in findings(main, others) if each.claim is claim)
    return finding


def test_a_claim_that_survives_its_checks_is_supported(records):
    others = [*records(of_mse(0.3, 0.1), epochs=30), *records(of_mse(0.4, 0.1), data="fashion-mnist")]
    finding = found(RECONSTRUCTS_WORSE, records(of_mse(0.2, 0.1)), others)
    assert (finding.verdict, finding.headline, finding.reason) == ("supported", "supported", "")
    assert [check.name for check in finding.checks] == ["with fashion-mnist", "at 30 epochs"]
    assert finding.other_data["fashion-mnist"].effect.value == pytest.approx(0.3)


def test_a_choice_without_data_is_named_as_not_checked(records):
    finding = found(RECONSTRUCTS_WORSE, records(of_mse(0.2, 0.1)))
    assert finding.verdict == "supported"
    assert finding.reason == "not checked: training budget, data set"


@pytest.mark.parametrize(
    ("where", "headline", "reason"),
    [
        ({"epochs": 30}, "depends on the training budget", "supported here, at 30 epochs not supported"),
        (
            {"data": "fashion-mnist"},
            "depends on the data set",
            "supported here, with fashion-mnist not supported",
        ),
    ],
)
def test_an_opposite_verdict_elsewhere_makes_a_claim_depend(records, where, headline, reason):
    finding = found(RECONSTRUCTS_WORSE, records(of_mse(0.2, 0.1)), records(of_mse(0.1, 0.2), **where))
    assert finding.verdict == "depends"
    assert finding.headline == headline
    assert finding.reason.startswith(reason)


def test_a_claim_that_is_supported_only_elsewhere_depends_too(records):
    finding = found(RECONSTRUCTS_WORSE, records(of_mse(0.1, 0.2)), records(of_mse(0.2, 0.1), epochs=30))
    assert (finding.outcome.verdict, finding.verdict) == ("not supported", "depends")


def test_an_unclear_check_makes_a_claim_inconclusive(records):
    finding = found(RECONSTRUCTS_WORSE, records(of_mse(0.2, 0.1)), records(of_mse(0.1001, 0.1), epochs=30))
    assert finding.verdict == "inconclusive"
    assert finding.reason.startswith("supported here, at 30 epochs inconclusive")


def test_records_of_the_same_setting_are_no_check(records):
    finding = found(RECONSTRUCTS_WORSE, records(of_mse(0.2, 0.1)), records(of_mse(0.1, 0.2)))
    assert (finding.verdict, finding.checks) == ("supported", ())


def test_judges_that_disagree_make_a_claim_depend_on_them(records, with_judges):
    ae, vae = records(of_frechet(74.0, 50.0))
    vae = with_judges(vae, "frechet_prior", (50.0,) * 5)
    opposed = with_judges(ae, "frechet_gmm10", (80.0, 80.0, 80.0, 81.0, 49.0))
    assert found(CANNOT_GENERATE, [opposed, vae]).headline == "depends on the judge"
    agreeing = with_judges(ae, "frechet_gmm10", (73.0, 73.0, 74.0, 75.0, 75.0))
    finding = found(CANNOT_GENERATE, [agreeing, vae])
    assert finding.headline == "supported"
    assert "judge" not in finding.unchecked


def test_another_feature_space_may_be_measured_by_another_run(records):
    others = records(of_frechet(20.0, 30.0, "_pixels"))
    finding = found(CANNOT_GENERATE, records(of_frechet(60.0, 50.0)), others)
    assert finding.headline == "depends on the feature space"
    assert finding.unchecked == ("training budget", "data set", "judge")


def test_a_single_judge_has_no_spread_of_judges_in_its_error(records):
    """The three differ by 8 about a difference of 10; each alone is known to 0.2."""
    made = records(of_frechet(60.0, 50.0))
    by_judge = {"frechet_gmm10": (52.0, 60.0, 68.0), "frechet_prior": (50.0, 50.0, 50.0)}
    judged = [
        record.model_copy(
            update={
                "metrics": tuple(
                    over_judges(
                        [METRICS[metric.name].measured(value, se=0.1) for value in by_judge[metric.name]]
                    )
                    for metric in record.metrics
                    if metric.name in by_judge
                )
            }
        )
        for record in made
    ]
    checks = [check.outcome for check in found(CANNOT_GENERATE, judged).checks]
    assert [check.verdict for check in checks] == ["supported"] * 3
    assert [check.effect.value for check in checks] == [2.0, 10.0, 18.0]
    assert all(check.effect.half_width < 0.3 for check in checks)


def test_a_run_of_other_models_has_no_findings(records):
    assert findings(records({"pca-3": [{"mse": (1.0, 0.1)}]})) == []
    assert findings([]) == []


def test_every_variant_names_known_metrics():
    read = [other for claim in CLAIMS for variant in VARIANTS if (other := claim.read_by(variant))]
    assert read
    assert {term.metric for claim in read for term in claim.terms} <= set(METRICS)
    assert set(METRICS) >= judged_metrics()


def test_a_label_free_claim_is_read_in_the_other_space_only():
    photos = OPTIONAL_CLAIMS[1]
    (other,) = [read for variant in VARIANTS if (read := photos.read_by(variant))]
    assert [term.metric for term in photos.terms] == 2 * ["frechet_at_1600_gflop_untrained"] + 2 * [
        "frechet_at_6400_gflop_untrained"
    ]
    assert [term.metric for term in other.terms] == [
        term.metric.replace("untrained", "pixels") for term in photos.terms
    ]
    assert not judged_metrics() & {term.metric for claim in (photos, other) for term in claim.terms}


@pytest.mark.parametrize("name", SUITES)
def test_suites_of_checks_measure_every_claim(name):
    checks = suite.load(name)
    measured = {metric.name for analysis in checks.analyses for metric in ANALYSES[analysis].metrics}
    epochs = max(entry.recipe.epochs for entry in checks.entries)
    labels = {entry.spec.label for entry in checks.entries if entry.recipe.epochs == epochs}
    assert {term.model for claim in CLAIMS for term in claim.terms} <= labels
    assert {term.metric for claim in CLAIMS for term in claim.terms} <= measured


@pytest.mark.parametrize(
    ("claim", "names"),
    [
        (OPTIONAL_CLAIMS[0], ("equal-flops", "equal-flops-fashion")),
        (OPTIONAL_CLAIMS[1], ("equal-flops-photos",)),
        (OPTIONAL_CLAIMS[2], ("latent-generation",)),
    ],
)
def test_suites_measure_the_optional_claims(claim, names):
    for name in names:
        shipped = suite.load(name)
        measured = {metric.name for analysis in shipped.analyses for metric in ANALYSES[analysis].metrics}
        specs = [entry.spec for entry in shipped.entries]
        shape = (3, 64, 64) if name == "equal-flops-photos" else (1, 28, 28)
        labels = {with_grid(spec, shape).label if spec.family == "identity" else spec.label for spec in specs}
        assert {term.model for term in claim.terms} <= labels
        assert {term.metric for term in claim.terms} <= measured


def test_optional_claims_are_shown_only_where_measured(records):
    measured = {"vae-16 β=1": [{"frechet_prior": (60.0, 1.0)}], "ae-16": [{"frechet_flow": (4.0, 0.1)}]}
    (finding,) = findings(records(measured))
    assert finding.claim is OPTIONAL_CLAIMS[2]
    assert finding.outcome.verdict == "supported"
    assert "judge" in finding.unchecked
    others = findings(records({"ae-2": [{"dead_zone_moment": (0.1, 0.01)}]}))
    assert [each.claim for each in others] == list(CLAIMS)


def test_a_store_without_checks_has_no_other_records(tmp_path):
    assert other_records(Store(tmp_path)) == []


def test_no_gap_is_the_largest_null_of_the_calibration():
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    flat = re.findall(r"^\| [^|]+ \| 2 \| 0\.000 \| [\d.]+ \([\d.]+ to ([\d.]+)\)", text, flags=re.MULTILINE)
    assert len(flat) >= 4
    assert max(map(float, flat)) <= NO_GAP
