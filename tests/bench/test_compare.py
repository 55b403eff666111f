"""Comparing: a verdict for every metric, and nothing passed over in silence."""

from pathlib import Path

import pytest

from latentbench.bench.compare import compare
from latentbench.bench.store import Run


def runs(a, b):
    return Run(Path("runs/my/a-0-a.jsonl"), tuple(a)), Run(Path("runs/my/b-0-b.jsonl"), tuple(b))


def verdicts(comparison):
    return {difference.metric: difference.verdict for difference in comparison.differences}


def test_a_run_equals_itself(make_record):
    record = make_record(mse=0.02, psnr=18.0, ssim=None)
    comparison = compare(*runs([record], [record]))
    assert set(verdicts(comparison).values()) == {"same"}
    assert not comparison.regressed


@pytest.mark.parametrize(
    ("metric", "a", "b", "verdict"),
    [
        ("mse", 0.020, 0.0201, "same"),
        ("mse", 0.020, 0.022, "worse"),
        ("mse", 0.020, 0.018, "better"),
        ("recognisable", 0.95, 0.90, "worse"),
        ("recognisable", 0.90, 0.95, "better"),
        ("umap_trustworthiness", 0.95, 0.80, "changed"),
        ("encode_images_per_second", 1000.0, 900.0, "same"),
        ("encode_images_per_second", 1000.0, 500.0, "worse"),
        ("mse", 0.0, 0.0, "same"),
        ("mse", 0.02, None, "missing"),
        ("mse", None, 0.02, "new"),
        ("mse", None, None, "same"),
    ],
)
def test_the_direction_and_tolerance_are_the_metrics_own(make_record, metric, a, b, verdict):
    comparison = compare(*runs([make_record(**{metric: a})], [make_record(**{metric: b})]))
    assert verdicts(comparison) == {metric: verdict}
    assert comparison.regressed == (verdict in ("worse", "missing"))


def test_a_tolerance_given_replaces_every_metrics_own(make_record):
    a, b = (
        make_record(mse=0.02, encode_images_per_second=100.0),
        make_record(mse=0.022, encode_images_per_second=89.0),
    )
    assert verdicts(compare(*runs([a], [b]), tolerance=0.105)) == {
        "mse": "same",
        "encode_images_per_second": "worse",
    }


def test_cases_of_one_run_only_are_noted(make_record):
    comparison = compare(*runs([make_record(mse=0.1)], [make_record(mse=0.1, latent_dim=8)]))
    assert comparison.compared == 0
    assert comparison.notes == ("ae-2, seed 0: only in A", "ae-8, seed 0: only in B")


def test_environments_are_only_compared_when_asked(make_record):
    a, b = make_record(mse=0.1), make_record(mse=0.1, environment="other")
    assert compare(*runs([a], [b])).compared == 0
    assert "different environments" in compare(*runs([a], [b])).notes[0]
    assert compare(*runs([a], [b]), across_environments=True).compared == 1


def test_two_versions_of_a_metric_are_never_compared(make_record):
    a = make_record(mse=0.1)
    newer = a.metrics[0].__class__(**{**a.metrics[0].__dict__, "version": 2})
    b = a.model_copy(update={"metrics": (newer,)})
    assert verdicts(compare(*runs([a], [b]))) == {"mse": "incomparable"}
