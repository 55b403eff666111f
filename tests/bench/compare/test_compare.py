"""Each of the three tests of a difference leads to its verdict."""

import time

import numpy as np
import pytest
from shared.comparisons import only, seeds, verdicts

from latentbench.analysis.catalogue import METRICS
from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import shipped
from latentbench.bench.compare.verdicts import Why
from latentbench.bench.store.records.line import line_of
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store

# The same seed, the same environment


def test_a_run_equals_itself(make_record, compared):
    record = make_record(mse=0.02, psnr=18.0, ssim=None)
    comparison = compared([record], [record])
    assert verdicts(comparison) == {"mse": "ok", "psnr": "ok"}
    assert not comparison.failures
    assert comparison.compared == 2


@pytest.mark.parametrize(
    ("metric", "a", "b", "verdict", "fails"),
    [
        ("mse", 0.020, 0.0201, "ok", False),
        ("mse", 0.020, 0.0203, "changed", False),
        ("mse", 0.020, 0.022, "changed", True),
        ("mse", 0.020, 0.018, "changed", False),
        ("recognisable", 0.95, 0.90, "changed", True),
        ("recognisable", 0.90, 0.95, "changed", False),
        ("umap_trustworthiness", 0.95, 0.80, "changed", False),
        ("encode_images_per_second", 1000.0, 900.0, "ok", False),
        ("encode_images_per_second", 1000.0, 500.0, "changed", False),
        ("mse", 0.0, 0.0, "ok", False),
        ("mse", 0.0, 0.1, "changed", True),
        ("mse", 0.02, None, "missing", True),
        ("mse", None, 0.02, "new", False),
    ],
)
def test_one_seed_is_checked_against_the_tolerance(make_record, compared, metric, a, b, verdict, fails):
    comparison = compared([make_record(**{metric: a})], [make_record(**{metric: b})])
    assert verdicts(comparison) == {metric: verdict}
    assert bool(comparison.failures) == fails
    assert all(found.p_adjusted is None for found in comparison.decided)


def test_null_in_both_runs_is_not_a_finding(make_record, compared):
    assert compared([make_record(mse=None)], [make_record(mse=None)]).findings == ()


def test_one_seed_tests_whether_models_differ_on_images(make_record, compared):
    errors = np.random.default_rng(0).uniform(0.01, 0.03, 10)
    a = (make_record(mse=0.02), {"examples/mse": errors.astype(np.float16)})
    b = (make_record(mse=0.03), {"examples/mse": (errors + 0.01).astype(np.float16)})
    finding = only(compared([a], [b]))
    assert finding.verdict == "changed"
    assert finding.why is Why.ONE_SEED_DIFFERS


# The same weights, or a model that takes no seed: image by image


def with_hits(record, hits):
    return record, {"examples/recognisable": np.packbits(hits)}


def hits(lost, gained, n=1000):
    a, b = np.ones(n, bool), np.ones(n, bool)
    b[:lost] = False
    a[lost : lost + gained] = False
    return a, b


@pytest.mark.parametrize(
    ("lost", "gained", "verdict"),
    [(40, 5, "regressed"), (25, 15, "inconclusive"), (5, 40, "ok"), (19, 17, "ok"), (3, 0, "ok")],
)
def test_hits_of_one_model_are_compared_image_by_image(make_record, compared, lost, gained, verdict):
    before, after = hits(lost, gained)
    a, b = (
        with_hits(make_record(recognisable=float(h.mean()), n=1000, weights="same"), h)
        for h in (before, after)
    )
    finding = only(compared([a], [b]))
    if abs(lost - gained) > 10:  # beyond the tolerance
        assert f"{lost} lost and {gained} gained" in finding.reason
    assert finding.verdict == verdict


def test_hits_of_captioned_images_count_captions(make_record, compared):
    """All 60 images lost are of one caption of ten: by images that would be certain."""
    before, after = hits(60, 5)
    a, b = (
        with_hits(make_record(recognisable=float(h.mean()), n=1000, weights="same"), h)
        for h in (before, after)
    )
    sizes = {"examples/recognisable/cluster_sizes": np.full(10, 100, np.int32)}
    assert only(compared([a], [b])).verdict == "regressed"
    finding = only(compared([(a[0], a[1] | sizes)], [(b[0], b[1] | sizes)]))
    assert finding.verdict == "inconclusive"
    assert "paired t over 10 clusters of 1,000 examples" in finding.reason


def test_errors_of_a_model_without_seed_are_paired_by_image(make_record, compared):
    draws = np.random.default_rng(0)
    before = draws.uniform(0.01, 0.03, 1000)
    after = before + draws.normal(0.002, 0.01, 1000).clip(-0.005)
    a, b = (
        (
            make_record(mse=float(e.mean()), n=1000, family="pca"),
            {"examples/mse": e.astype(np.float16)},
        )
        for e in (before, after)
    )
    finding = only(compared([a], [b]))
    assert finding.verdict == "regressed"
    assert finding.evidence.regression == float(after.mean()) - float(before.mean())
    assert finding.evidence.low > 0


def test_images_stay_the_sample_for_seeds_of_one_model(make_record, compared):
    before, after = hits(40, 5)

    def runs(which):
        return [
            with_hits(make_record(recognisable=float(which.mean()), n=1000, weights="w", seed=seed), which)
            for seed in range(3)
        ]

    finding = only(compared(runs(before), runs(after)))
    assert finding.verdict == "regressed"
    assert finding.evidence.n == 1000


# Trained again: the seeds are the sample


def test_shared_seeds_are_paired(make_record, compared):
    base = np.array([0.020, 0.024, 0.019, 0.022, 0.021])
    losses = np.array([0.0010, 0.0012, 0.0009, 0.0011, 0.0010])
    finding = only(compared(seeds(make_record, "mse", base), seeds(make_record, "mse", base + losses)))
    assert finding.verdict == "regressed"
    assert finding.reason == "paired t over 5 seeds"
    assert finding.a == pytest.approx(base.mean())
    assert finding.change == pytest.approx(losses.mean() / base.mean())


def test_more_seeds_in_the_baseline_are_left_out_of_the_pairs(make_record, compared):
    base = np.array([0.020, 0.024, 0.019, 0.022, 0.021])
    finding = only(compared(seeds(make_record, "mse", base), seeds(make_record, "mse", base[:3] * 1.1)))
    assert finding.seeds == (0, 1, 2)
    assert finding.a == pytest.approx(base[:3].mean())
    assert finding.verdict == "regressed"


def test_other_seeds_are_compared_unpaired(make_record, compared):
    a = seeds(make_record, "mse", [0.020, 0.021, 0.022, 0.021])
    b = [make_record(mse=value, seed=seed) for seed, value in ((7, 0.030), (8, 0.031), (9, 0.030))]
    finding = only(compared(a, b))
    assert finding.verdict == "regressed"
    assert finding.reason == "Welch's t, 4 seeds and 3"


def test_one_seed_is_compared_with_the_baseline_s_spread(make_record, compared):
    base = [0.020, 0.021, 0.022, 0.021, 0.020]
    same = only(compared(seeds(make_record, "mse", base), seeds(make_record, "mse", base[:1])))
    assert (same.verdict, same.why) == ("ok", Why.SAME)
    far = only(compared(seeds(make_record, "mse", base), seeds(make_record, "mse", [0.030])))
    assert far.verdict == "regressed"
    near = only(compared(seeds(make_record, "mse", base), seeds(make_record, "mse", [0.0215])))
    assert near.verdict == "inconclusive"


def test_one_seed_each_and_not_the_same_decides_nothing(make_record, compared):
    finding = only(compared([make_record(mse=0.1)], [make_record(mse=0.2, seed=1)]))
    assert finding.verdict == "inconclusive"


def test_a_regression_within_noise_asks_for_more_seeds(make_record, compared):
    base = np.full(5, 0.020)
    noise = np.array([0.003, -0.001, 0.002, -0.0015, 0.001])
    finding = only(compared(seeds(make_record, "mse", base), seeds(make_record, "mse", base + noise)))
    assert finding.verdict == "inconclusive"
    assert 5 < finding.further_seeds < 100
    assert finding.detectable == pytest.approx(1.36 * noise.std(ddof=1), rel=0.01)


def test_a_certain_but_small_regression_is_ok(make_record, compared):
    base = np.array([0.0200, 0.0240, 0.0190, 0.0220, 0.0210])
    small = base * np.array([1.009, 1.0095, 1.0105, 1.009, 1.0095])
    finding = only(compared(seeds(make_record, "mse", base), seeds(make_record, "mse", small)))
    assert finding.evidence.p < 0.001
    assert finding.verdict == "ok"


def test_a_gain_is_ok_and_is_called_better(make_record, compared):
    finding = only(
        compared(seeds(make_record, "mse", [0.02, 0.021]), seeds(make_record, "mse", [0.01, 0.0111]))
    )
    assert finding.verdict == "ok"
    assert finding.is_better


def test_a_gate_of_many_metrics_corrects_for_them(make_record, compared):
    regressions = np.array([0.9, 0.1, 0.8, 0.6, 1.0, 0.2, 0.7, 0.5])
    names = ("mse", "frechet_prior", "frechet_moment", "class_kl_prior", "class_kl_moment", "dead_zone_prior")

    def run(values):
        return [make_record(**dict.fromkeys(names, value), seed=seed) for seed, value in enumerate(values)]

    # Weak enough that one test finds it and six together do not.
    spread = np.array([9.0, -6.0, 8.0, -2.0, 6.0, -4.0, 5.0, 1.0]) + 3 * regressions
    a, b = run(np.full(8, 100.0)), run(100.0 + spread)
    alone = compared(a, b, metrics=frozenset({"mse"}), correction="Holm")
    together = compared(a, b, correction="Holm")
    assert only(alone).evidence.p == pytest.approx(together.findings[0].evidence.p)
    assert [f.p_adjusted for f in together.findings] == pytest.approx([only(alone).evidence.p * 6] * 6)
    assert f"one of {len(names)} tests" in together.power


def test_what_differs_within_the_tolerance_is_one_of_the_tests(make_record, compared):
    """Leaving out small differences would make the others look rarer than they are."""
    spread = np.array([9.0, -6.0, 8.0, -2.0, 6.0, -4.0, 5.0, 1.0]) + 3.0

    def run(mse, quiet, untouched):
        return [
            make_record(mse=value, frechet_prior=quiet + seed / 100, frechet_moment=untouched, seed=seed)
            for seed, value in enumerate(mse)
        ]

    comparison = compared(
        run(np.full(8, 100.0), 50.0, 7.0), run(100.0 + spread, 50.1, 7.0), correction="Holm"
    )
    loud, quiet, untouched = comparison.findings
    assert (quiet.why, untouched.why) == (Why.WITHIN_TOLERANCE, Why.SAME)
    assert loud.p_adjusted == pytest.approx(2 * loud.evidence.p)
    assert comparison.tests == 2


def test_many_cases_are_read_and_compared_in_seconds(make_record, tmp_path):
    """Far below this limit on an idle machine; `pytest tests/speed -k store` tests the full size."""
    names = [name for name, metric in METRICS.items() if metric.better != "neither"][:40]
    runs = []
    for shift in (0.0, 0.1):
        with Store(tmp_path / str(shift)).writer("my", None) as writer:
            path = writer.path
        records = [
            make_record(**dict.fromkeys(names, 1.0 + shift + seed / 50), latent_dim=width, seed=seed)
            for width in range(1, 41)
            for seed in range(5)
        ]
        path.write_bytes(b"".join(map(line_of, records)))
        runs.append(path)
    began = time.process_time()
    comparison = compare(*map(read, runs), shipped())
    assert time.process_time() - began < 4
    assert len(comparison.findings) == 40 * len(names)


def test_shares_of_few_images_that_tie_do_not_regress(make_record, compared):
    a = seeds(make_record, "recognisable", [54 / 60, 57 / 60], n=60)
    b = seeds(make_record, "recognisable", [52 / 60, 55 / 60], n=60)
    assert only(compared(a, b)).verdict == "inconclusive"


def test_a_change_of_a_model_without_a_seed_is_certain(make_record, compared):
    a = seeds(make_record, "mse", [0.02, 0.02], family="pca")
    b = seeds(make_record, "mse", [0.03, 0.03], family="pca")
    assert only(compared(a, b)).evidence.p == 0.0
