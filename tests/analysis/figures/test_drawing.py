"""Colours, labels, tiles and seeds are drawn alike in every figure."""

import numpy as np
from matplotlib.colors import to_rgb
from shared.figures import model

from latentbench.analysis.figures.drawing import naming, scatter, style
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.analysis.figures.drawing.seeds import lowest_seeds
from latentbench.analysis.figures.drawing.tiles import GAP, tile
from latentbench.analysis.figures.images import error_strips
from latentbench.models.family import FAMILIES
from latentbench.models.spec import Display, ForeignSpec
from latentbench.models.zoo import model_spec


def test_tiles_run_row_by_row_with_gaps():
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(2, 2).repeat(2, 3)
    canvas = tile(images, columns=2)
    step = 2 + GAP
    assert canvas.shape == (2 * step + GAP, 2 * step + GAP, 3)
    assert canvas[GAP, GAP].tolist() == [0, 0, 0]
    assert canvas[GAP, GAP + step].tolist() == [1, 1, 1]
    assert canvas[GAP + step, GAP].tolist() == [2, 2, 2]
    assert canvas[GAP + step, GAP + step].tolist() == [255, 255, 255]


def test_colour_tiles_keep_their_colours():
    red = np.zeros((1, 3, 1, 1), np.uint8)
    red[0, 0] = 200
    assert tile(red, 1)[GAP, GAP].tolist() == [200, 0, 0]


def test_widths_of_one_family_have_shades_of_its_colour():
    specs = [model_spec(family="clip", latent_dim=width) for width in (64, 8, 32)]
    several = style.colours_by_width([*specs, model_spec(family="siglip", latent_dim=32)])
    assert several[3] == style.family_colour("siglip")
    brightness = [sum(to_rgb(each)) for each in several[:3]]
    assert brightness[1] > brightness[2] > brightness[0]


def test_heavier_beta_is_darker_and_a_family_keeps_its_colour():
    lightness = lambda spec: sum(int(style.colour(spec)[i : i + 2], 16) for i in (1, 3, 5))  # noqa: E731
    betas = [model_spec(family="vae", latent_dim=2, beta=beta) for beta in (0, 0.1, 0.25, 1, 4, 16)]
    shades = [lightness(spec) for spec in betas]
    assert shades == sorted(shades, reverse=True)
    assert len(set(shades)) == len(shades)
    assert style.colour(model_spec(family="vae", latent_dim=2, beta=1)) == style.family_colour("vae")


def test_a_family_declares_its_look():
    assert style.family_colour("vae") == FAMILIES["vae"].display.colour
    assert style.colour(ForeignSpec(family="mine", latent_dim=2)) == Display().colour


def test_a_dollar_in_a_name_is_text(zoo):
    named = ModelResult("$x$ a", zoo[0].spec, 0, zoo[0].metrics, zoo[0].arrays)
    fig = error_strips.draw([named])
    fig.draw_without_rendering()
    title = fig.axes[0]._left_title
    assert title.get_text() == "$x$ a"
    assert not title.get_parse_math()


def test_labels_of_crowded_points_do_not_overlap():
    picture, (axes,) = style.panels(1, columns=1, width=5, height=4)
    rng = np.random.default_rng(0)
    points = [tuple(point) for point in rng.uniform(0.3, 0.7, size=(18, 2))]
    axes.set(xlim=(0, 1), ylim=(0, 1))
    naming.name_points(axes, points, [str(2**i) for i in range(18)], ["black"] * 18)
    picture.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_labels_do_not_cover_error_bars():
    fig, (axes,) = style.panels(1, columns=1, width=5, height=4)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.errorbar([0.5], [0.5], xerr=[0.3], yerr=[0.3], linestyle="None")
    naming.name_points(axes, [(0.5, 0.5)], ["ae-16 β=0.02"], ["black"])
    fig.draw_without_rendering()
    box = axes.texts[0].get_window_extent()
    x, y = axes.transData.transform((0.5, 0.5))
    assert not box.x0 <= x <= box.x1
    assert not box.y0 <= y <= box.y1


def test_names_of_classes_at_one_place_are_pushed_apart():
    middles = np.array([[0.5, 0.5], [0.505, 0.5], [0.5, 0.51], [0.1, 0.1]])
    moved = scatter.spread(middles)
    gaps = np.linalg.norm(moved[:, None] - moved[None], axis=2)[np.triu_indices(4, 1)]
    assert gaps.min() > 0.9 * scatter.APART
    assert moved[3].tolist() == [0.1, 0.1]


# Speed


def test_the_lowest_seed_that_has_the_arrays_is_shown():
    seeds = [
        model("ae", 2, 0),
        model("ae", 2, 2, arrays={"a": np.zeros(1)}),
        model("ae", 2, 1, arrays={"a": np.zeros(1)}),
    ]
    assert [shown.seed for shown in lowest_seeds(seeds, "a")] == [1]
