"""The recommended model meets the requirements, and the text says why."""

import pytest

from latentbench.analysis.performance.point import SweepPoint
from latentbench.bench.present.recommend import (
    LATENCY,
    Requirement,
    as_rows,
    explain,
    recommend,
    requirement,
    seconds,
)
from latentbench.bench.present.rows import rows as rows_of
from latentbench.data.errors import LatentbenchError

QUICK, SLOW = 1e-5, 1e-3


@pytest.fixture
def rows(make_record):
    """Three widths: the wider the better and the slower; a fourth that beats none of them at anything."""
    made = [
        make_record(latent_dim=2, psnr=12.0, encode_latency_seconds=QUICK),
        make_record(latent_dim=8, psnr=16.0, encode_latency_seconds=1e-4),
        make_record(latent_dim=32, psnr=24.0, encode_latency_seconds=SLOW),
        make_record(latent_dim=64, psnr=11.0, encode_latency_seconds=2 * SLOW),
        make_record(latent_dim=128, psnr=None, encode_latency_seconds=QUICK),
    ]
    return rows_of(made)


def test_a_contended_latency_meets_no_requirement(make_record, contended):
    quick = contended(make_record(latent_dim=32, psnr=24.0, encode_latency_seconds=QUICK), LATENCY)
    known = make_record(latent_dim=2, psnr=12.0, encode_latency_seconds=SLOW)
    table = rows_of([quick, known])
    assert recommend(table, [Requirement(LATENCY, "<=", 1.0)]).chosen.label == "ae-2"
    assert recommend(table, []).chosen.label == "ae-32"
    with pytest.raises(LatentbenchError, match="none has all of these metrics undisturbed"):
        recommend(table[1:], [Requirement(LATENCY, "<=", 1.0)])


def test_the_best_of_what_qualifies_is_picked(rows):
    assert recommend(rows, []).chosen.label == "ae-32"
    quick = recommend(rows, [Requirement(LATENCY, "<=", 5e-4)])
    assert quick.chosen.label == "ae-8"
    assert [row.label for row in quick.qualified] == ["ae-2", "ae-8", "ae-128"]
    words = " ".join(explain(quick))
    assert "Pick ae-8: 16.00 dB" in words
    assert "encode_latency_seconds ≤ 500 µs: 100 µs" in words
    assert "rules out 2: ae-32, ae-64" in words


def test_a_model_without_the_metric_does_not_qualify_by_it(rows):
    found = recommend(rows, [Requirement("psnr", ">=", 10)])
    assert "ae-128" not in [row.label for row in found.qualified]
    assert found.ruled_out[found.requirements[0]] == ("ae-128",)


def test_where_nothing_qualifies_the_closest_is_named(rows):
    wanted = [Requirement(LATENCY, "<=", 5e-4), Requirement("psnr", ">=", 20)]
    with pytest.raises(LatentbenchError, match=r"the closest is ae-8: psnr 16\.00 dB, off by 20%"):
        recommend(rows, wanted)
    with pytest.raises(LatentbenchError, match="none has all of these metrics"):
        recommend(rows, [Requirement("ssim", ">=", 0.5)])


def test_the_fastest_of_tied_models_is_recommended(make_record):
    made = []
    for seed, jitter in enumerate((-0.4, 0.0, 0.4)):
        made.append(make_record(latent_dim=8, seed=seed, psnr=20.0 + jitter, encode_latency_seconds=QUICK))
        made.append(make_record(latent_dim=16, seed=seed, psnr=20.2 + jitter, encode_latency_seconds=SLOW))
    found = recommend(rows_of(made), [Requirement("psnr", ">=", 20.0)])
    assert found.chosen.label == "ae-8"
    words = " ".join(explain(found))
    assert "cannot be told apart" in words
    assert "ae-16" in words
    assert "though the limit is within its interval" in words


def test_rows_mark_the_models_on_the_front(rows):
    found = as_rows(rows, recommend(rows, []))
    on_front = {row["model"] for row in found if row["on_front"]}
    assert on_front == {"ae-2", "ae-8", "ae-32"}
    assert [row["model"] for row in found if row["chosen"]] == ["ae-32"]


def test_requirements_and_durations_are_read_or_refused():
    assert requirement("frechet_prior<=50") == Requirement("frechet_prior", "<=", 50.0)
    assert seconds("2 ms") == 2e-3
    for text in ("3", "fast", "-1ms", "1..2ms", "0s"):
        with pytest.raises(LatentbenchError, match="add a unit"):
            seconds(text)
    with pytest.raises(LatentbenchError, match="did you mean 'psnr'"):
        requirement("psn>=20")
    with pytest.raises(LatentbenchError, match="METRIC<=NUMBER"):
        requirement("psnr=20")
    with pytest.raises(LatentbenchError, match="'many' is not a number"):
        requirement("psnr>=many")


def test_metric_without_a_direction_cannot_be_preferred(rows):
    with pytest.raises(LatentbenchError, match="does not rank"):
        recommend(rows, [], "parameters")


def test_recommend_refuses_a_sweep(make_record):
    point = SweepPoint(operation="encode", batch=1)
    made = make_record(latent_dim=2, latency_seconds=QUICK).model_copy(update={"point": point})
    with pytest.raises(LatentbenchError, match="random weights"):
        recommend(rows_of([made]), [])


def test_no_model_is_recommended_over_several_data_sets(make_record):
    made = [make_record(psnr=12.0, data=data) for data in ("mnist", "digits")]
    with pytest.raises(LatentbenchError, match="choose one with --data: digits, mnist"):
        recommend(rows_of(made), [])
