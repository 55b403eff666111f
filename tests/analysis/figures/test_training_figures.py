"""Figures of training are checked through matplotlib's objects."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from shared.figures import model

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.training import (
    kl_curves,
    kl_per_dim,
    kl_per_dim_history,
)


def test_kl_per_dim_is_sorted_and_inactive_dimensions_are_pale():
    arrays = {kl_per_dim.KL_PER_DIM: np.array([0.0, 3.0, 1.0]), kl_per_dim.ACTIVE: np.array([0, 1, 1], bool)}
    picture = kl_per_dim.draw([model("vae", 3, beta=1.0, arrays=arrays)])
    bars = picture.axes[0].patches
    assert [bar.get_height() for bar in bars] == [3.0, 1.0, 0.0]
    assert [to_hex(bar.get_facecolor()) == style.family_colour("vae") for bar in bars] == [True, True, False]
    assert picture.axes[0].get_title(loc="left") == "vae-3 β=1\n4.0 nats, 2 of 3 active"


def test_curves_are_averaged_up_to_the_first_divergence():
    curves = [np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, np.nan])]
    assert kl_curves.mean_over_seeds(curves).tolist() == [2.0, 3.0]


def test_kl_curves_name_the_step_of_the_spike(zoo):
    picture = kl_curves.draw(zoo)
    assert [axes.get_title(loc="left") for axes in picture.axes] == ["2 dimensions", "16 dimensions"]
    entries = [text.get_text() for text in picture.axes[0].get_legend().get_texts()]
    assert [entry.split(" (")[0] for entry in entries] == ["vae β=0.25", "vae β=1", "vae β=4"]
    step = int(entries[0].removesuffix(")").rsplit(" ", 1)[1])
    assert abs(step - 60) < 6


def history(rows, steps):
    return {kl_per_dim_history.KL_PER_DIM: rows.astype(np.float16), kl_per_dim_history.KL: np.ones(steps)}


def test_dimensions_are_sorted_by_their_final_kl():
    # 1,200 steps are kept in rows of three: the first dimension is awake early, the second in the end.
    rows = np.zeros((400, 2))
    rows[10:20, 0], rows[300:, 1] = 3.0, 2.0
    axes, _ = kl_per_dim_history.draw([model("vae", 2, beta=1.0, arrays=history(rows, 1200))]).axes
    mesh = axes.collections[0]
    assert np.asarray(mesh.get_array()) == pytest.approx(rows[:, ::-1].T)
    edges = mesh.get_coordinates()[0, :, 0]
    assert edges[[0, 10, 20, 300, 400]].tolist() == [1, 31, 61, 901, 1201]
    assert axes.get_title(loc="left") == "vae-2 β=1"
    top, bottom = mesh.get_coordinates()[[0, -1], 0, 1]
    assert axes.transData.transform((10, top))[1] > axes.transData.transform((10, bottom))[1]


@pytest.mark.parametrize(
    ("rows", "steps", "ends"),
    [(342, 1025, [1024, 1026]), (34, 100, [100, 101])],
    ids=["a last row of two steps", "diverged early: rows of three, as planned for 1,025 steps"],
)
def test_a_row_is_as_long_as_it_was_recorded(rows, steps, ends):
    arrays = history(np.ones((rows, 2)), steps)
    picture = kl_per_dim_history.draw([model("vae", 2, beta=1.0, arrays=arrays)])
    assert picture.axes[0].collections[0].get_coordinates()[0, -2:, 0].tolist() == ends


def test_an_overflow_does_not_stretch_the_shared_scale():
    low, high = np.ones((600, 2)), np.full((600, 4), 5.0)
    high[0, 0] = np.inf
    models = [model("vae", rows.shape[1], beta=1.0, arrays=history(rows, 600)) for rows in (low, high)]
    first, second, _ = kl_per_dim_history.draw(models).axes
    scales = {axes.collections[0].norm.vmax for axes in (first, second)}
    assert scales == {5.0}


def test_the_six_widest_models_are_shown_in_order():
    widths = (2, 16, 4, 8, 64, 3, 32, 5)
    models = [model("vae", width, beta=1.0, arrays=history(np.ones((9, width)), 9)) for width in widths]
    titles = [axes.get_title(loc="left") for axes in kl_per_dim_history.draw(models).axes[:-1]]
    assert titles == [f"vae-{width} β=1" for width in (16, 4, 8, 64, 32, 5)]
