"""History lists the right runs in the right order, and finds real change points only."""

import io

import numpy as np
import pytest
from PIL import Image

from latentbench.bench.present.figures import draw_history
from latentbench.bench.present.history import change_points, rows, timeline
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError


@pytest.fixture
def store(tmp_path, make_record):
    """Twelve runs of two models; from the eighth on the wider one is 10 % worse."""
    store = Store(tmp_path)
    draws = np.random.default_rng(3)
    for index in range(12):
        worse = 1.1 if index >= 7 else 1.0
        with store.writer("my", "c0ffee") as writer:
            for seed in range(3):
                writer.append(make_record(mse=0.02 * (1 + draws.normal(0, 0.005)), seed=seed))
                writer.append(
                    make_record(mse=0.01 * worse * (1 + draws.normal(0, 0.005)), latent_dim=8, seed=seed)
                )
            writer.finish()
    return store


def test_a_step_is_found_where_it_is_and_nowhere_else(store):
    narrow, wide = timeline(store, "mse")
    assert [point.changed for point in narrow.points] == [False] * 12
    assert [index for index, point in enumerate(wide.points) if point.changed] == [7]
    assert [point.run for point in wide.points] == [
        path.name.removesuffix(".jsonl") for path in store.paths()
    ]
    assert wide.points[0].seeds == 3
    assert [row["advice"] for row in rows([wide])].count("changed here?") == 1


def test_one_model_or_suite_can_be_asked_for(store):
    (only,) = timeline(store, "mse", suite="my", model="ae-8")
    assert only.name == "ae-8 (my)"


def test_another_environment_is_another_series(store, make_record):
    with store.writer("my", None) as writer:
        writer.append(make_record(mse=0.05, environment="other"))
        writer.finish()
    assert sorted(len(series.points) for series in timeline(store, "mse")) == [1, 12, 12]


@pytest.mark.parametrize(
    ("metric", "options", "message"),
    [
        ("mze", {}, "unknown metric 'mze'; did you mean 'mse'?"),
        ("ssim", {}, "has ssim"),
        ("mse", {"model": "vae-2"}, "has mse of vae-2"),
        ("mse", {"suite": "other"}, "no finished run"),
    ],
)
def test_unknown_choices_are_named(store, metric, options, message):
    with pytest.raises(LatentbenchError, match=message.replace("?", r"\?")):
        timeline(store, metric, **options)


def test_figure_has_a_panel_for_each_series(store):
    picture = Image.open(io.BytesIO(draw_history(timeline(store, "mse"), "mse")))
    assert picture.width > 1.5 * picture.height
    assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_few_or_equal_values_have_no_change_point():
    assert change_points(np.array([1.0, 1.0, 9.0, 9.0]), 0.01) == []
    assert change_points(np.full(20, 0.5), 0.01) == []
    assert change_points(np.r_[np.full(10, 0.5), np.full(10, 0.5001)], 0.01) == []
    assert change_points(np.r_[np.full(10, 0.5), np.full(10, 0.6)], 0.01) == [10]


@pytest.mark.parametrize("runs", [8, 12, 30])
def test_a_series_of_noise_seldom_has_one(runs):
    values = np.random.default_rng(runs).normal(100.0, 5.0, (100, runs))
    assert sum(bool(change_points(series, 0.01)) for series in values) <= 10  # about 4 expected


def test_a_step_of_five_deviations_is_nearly_always_found():
    draws = np.random.default_rng(0)
    series = [np.r_[draws.normal(100, 1, 7), draws.normal(105, 1, 5)] for _ in range(50)]
    assert sum(7 in change_points(values, 0.001) for values in series) >= 40


def test_a_model_has_a_series_for_each_data_set(tmp_path, make_record):
    store = Store(tmp_path)
    with store.writer("my", None) as writer:
        for data in ("mnist", "digits"):
            writer.append(make_record(mse=0.1, data=data))
        writer.finish()
    assert [one.name for one in timeline(store, "mse")] == ["ae-2 on mnist (my)", "ae-2 on digits (my)"]
