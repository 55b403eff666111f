"""Results that cannot be compared are named with the reason; none is left out silently."""

from dataclasses import replace

import pytest
from shared.comparisons import only, seeds, verdicts

from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import shipped
from latentbench.bench.compare.verdicts import Why
from latentbench.bench.store.records.record import JudgeReference
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store


@pytest.mark.parametrize("side", [0, 1])
def test_contended_timings_are_not_compared(make_record, compared, side):
    """A busy machine is no regression and no improvement, however different its timings are."""
    records = [make_record(examples_per_second=rate, mse=0.02) for rate in (1000.0, 10.0)]
    rate, mse = records[side].metrics
    doubted = rate.doubted("contended", "waited for a core"), mse
    records[side] = records[side].model_copy(update={"metrics": doubted})
    comparison = compared(*([record] for record in records))
    assert verdicts(comparison) == {"examples_per_second": "incomparable", "mse": "ok"}
    assert not comparison.failures
    found = next(finding for finding in comparison.findings if finding.metric == "examples_per_second")
    assert (found.why, found.detail) == (Why.CONTENDED, "waited for a core")


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((), (0, 1), "missing"),
        ((), (0, 1, 2), "missing"),
        ((), (2,), "incomparable"),
        ((0, 1, 2), (0, 1, 2), "incomparable"),
        ((0, 1, 2), (), "incomparable"),
    ],
)
def test_a_new_collapse_of_most_seeds_fails(make_record, compared, before, after, verdict):
    """Precision would rise, so no test of its values could see it."""
    sides = []
    for value, collapsed in ((0.6, before), (0.9, after)):
        records = [
            make_record(precision_moment=value + 0.01 * seed, mse=0.02, seed=seed) for seed in range(3)
        ]
        for seed in collapsed:
            precision, mse = records[seed].metrics
            doubted = precision.doubted("collapsed", "Vendi score 1.2")
            records[seed] = records[seed].model_copy(update={"metrics": (doubted, mse)})
        sides.append(records)
    comparison = compared(*sides)
    assert verdicts(comparison) == {"precision_moment": verdict, "mse": "ok"}
    assert bool(comparison.failures) == (verdict == "missing")
    found = next(finding for finding in comparison.findings if finding.metric == "precision_moment")
    assert found.why is Why.COLLAPSED
    if verdict == "missing":
        assert found.detail == f"at {len(after)} of 3 seeds of B: Vendi score 1.2"


def test_models_of_one_run_only_are_missing_or_new(make_record, compared):
    comparison = compared([make_record(mse=0.1)], [make_record(mse=0.1, latent_dim=8)])
    assert {(f.model, f.verdict) for f in comparison.findings} == {("ae-2", "missing"), ("ae-8", "new")}
    assert comparison.compared == 0
    assert [f.model for f in comparison.failures] == ["ae-2"]


def test_environments_are_compared_only_on_request(make_record, compared):
    a, b = make_record(mse=0.1), make_record(mse=0.1, environment="other")
    apart = compared([a], [b])
    assert verdicts(apart) == {"every metric": "incomparable"}
    assert only(apart).reason == "different environments: env → other"
    assert apart.compared == 0
    together = compared([a], [b], across_environments=True)
    assert together.compared == 1
    assert together.notes == ("compared across environments: env → other",)
    far = compared([a], [make_record(mse=0.2, environment="other")], across_environments=True)
    assert only(far).verdict == "inconclusive"


def test_two_versions_of_a_metric_are_never_compared(make_record, compared):
    a = make_record(mse=0.1)
    newer = replace(a.metrics[0], version=2)
    finding = only(compared([a], [a.model_copy(update={"metrics": (newer,)})]))
    assert (finding.verdict, finding.why) == ("incomparable", Why.OTHER_VERSION)
    assert finding.detail == "1 → 2"


def test_values_by_different_judges_are_incomparable(make_record, compared):
    a = make_record(mse=0.1, frechet_prior=50.0)
    by_judge = [replace(m, by_judge=(m.value,)) if m.name != "mse" else m for m in a.metrics]
    a, b = (
        a.model_copy(
            update={"metrics": tuple(by_judge), "judges": (JudgeReference(hash=hash, accuracy=0.99),)}
        )
        for hash in ("1" * 64, "2" * 64)
    )
    assert verdicts(compared([a], [a])) == {"mse": "ok", "frechet_prior": "ok"}
    apart = compared([a], [b])
    assert verdicts(apart) == {"mse": "ok", "frechet_prior": "incomparable"}
    finding = next(found for found in apart.findings if found.metric == "frechet_prior")
    assert finding.reason == "judged by different judges: 11111111 → 22222222"


def test_a_score_of_other_counts_is_another_score(make_record, compared):
    finding = only(compared([make_record(frechet_prior=50.0)], [make_record(frechet_prior=60.0, n=20)]))
    assert (finding.verdict, finding.why) == ("incomparable", Why.OTHER_COUNT)
    assert finding.detail == "10 → 20"


def test_changed_settings_are_compared_by_name_and_listed(make_record, compared):
    other = make_record(mse=0.1, epochs=9)
    comparison = compared([make_record(mse=0.1)], [other])
    assert verdicts(comparison) == {"mse": "ok"}
    assert comparison.notes == ("ae-2: compared by its name; epochs 5 → 9",)


def test_other_data_are_never_compared(make_record, compared):
    record = make_record(mse=0.1)
    other = record.model_copy(update={"data": record.data.model_copy(update={"fingerprint": "g"})})
    finding = only(compared([record], [other]))
    assert finding.verdict == "incomparable"
    assert "data mnist m → mnist g" in finding.reason


def test_a_model_is_compared_with_itself_on_each_data_set(make_record, compared):
    """Also with changed settings, and where the other run lacks a data set."""
    a, b = (
        [make_record(mse=mse, data=data, family="pca", epochs=epochs) for data, mse in values.items()]
        for epochs, values in (
            (5, {"mnist": 0.1, "digits": 0.2, "cifar": 0.3}),
            (6, {"digits": 0.2, "mnist": 0.1}),
        )
    )
    for later in (b, [record.model_copy(update={"recipe": a[0].recipe}) for record in b]):
        comparison = compared(a, later)
        found = {(each.model, each.verdict) for each in comparison.findings}
        assert found == {("pca-2 on mnist", "ok"), ("pca-2 on digits", "ok"), ("pca-2 on cifar", "missing")}


def test_a_case_that_failed_is_named_with_its_reason(make_record, compared):
    failed = make_record(mse=None, status="diverged", reason="loss not finite at step 7")
    comparison = compared([make_record(mse=0.1)], [failed])
    (case,) = comparison.failed
    assert str(case) == "ae-2, seed 0: diverged (loss not finite at step 7)"
    assert only(comparison).verdict == "missing"


@pytest.mark.parametrize(("before", "failures"), [("skipped", 0), ("ok", 1)])
def test_case_skipped_in_the_baseline_is_no_failure(make_record, compared, before, failures):
    skipped = make_record(mse=None, status="skipped", reason="no decoder")
    comparison = compared([make_record(mse=0.1, status=before)], [skipped])
    assert len(comparison.failed) == failures


def test_a_gate_says_that_it_does_not_test_speed(compared, make_record):
    timed = [make_record(mse=0.1, encode_latency_seconds=0.01)]
    (note,) = compared(timed, timed, metrics=shipped().gated).notes
    assert "latentbench check --throughput" in note
    assert compared(timed, timed).notes == ()
    untimed = [make_record(mse=0.1)]
    assert compared(untimed, untimed, metrics=shipped().gated).notes == ()


def test_an_unfinished_run_is_named(make_record, tmp_path):
    runs = []
    for finish in (True, False):
        with Store(tmp_path).writer("my", None) as writer:
            writer.append(make_record(mse=0.1))
            runs.append(read(writer.finish() if finish else writer.path))
    comparison = compare(*runs, shipped())
    assert comparison.unfinished
    assert "B is unfinished" in comparison.notes
    assert not compare(*reversed(runs), shipped()).unfinished


def test_a_value_lost_at_one_seed_is_missing(make_record, compared):
    a = seeds(make_record, "mse", [0.1, 0.1, 0.1])
    b = seeds(make_record, "mse", [0.1, None, 0.1])
    finding = only(compared(a, b))
    assert finding.verdict == "missing"
    assert "at 1 of 3 seeds: not available" in finding.reason


def test_models_that_share_a_label_are_told_apart(make_record, compared):
    both = [make_record(mse=0.1), make_record(mse=0.2, epochs=9, case="other")]
    assert [finding.model for finding in compared(both, both).findings] == ["ae-2", "ae-2 (2)"]
