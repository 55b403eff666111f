"""Every figure is drawn from a small made-up zoo, and checked through matplotlib's objects."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from shared.figures import model, words

from latentbench.analysis.figures.catalogue import FIGURES
from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.tiles import GAP
from latentbench.analysis.figures.images import error_strips, reconstructions, samples, worst_reconstructions
from latentbench.analysis.figures.latent import latent_maps
from latentbench.analysis.stored.samplers import SAMPLERS


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_is_legible_and_within_its_frame(name, everyone):
    picture = FIGURES[name].draw(everyone)
    picture.draw_without_rendering()
    texts = [t for t in picture.findobj(matplotlib.text.Text) if t.get_text() and t.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 9
    assert not [text.get_text() for text in texts if "\\math" in text.get_text()]
    width, height = picture.get_size_inches() * picture.dpi
    box = picture.get_tightbbox()
    assert box.x0 > -0.2
    assert box.y0 > -0.2
    assert box.x1 < width / picture.dpi + 0.2
    assert box.y1 < height / picture.dpi + 0.2


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_figure_without_data_is_none(name):
    bare = [model("clip", 8), model("ae", 2, metrics={"mse": None, "zero_shot_top1": None, "kl": None})]
    assert FIGURES[name].draw([]) is None
    assert FIGURES[name].draw(bare) is None


@pytest.mark.parametrize("name", list(FIGURES))
def test_models_without_the_arrays_are_left_out(name, everyone):
    assert FIGURES[name].draw([model("clip", 8), *everyone]) is not None


def test_every_figure_has_a_caption():
    assert all(len(figure.caption) > 60 and figure.title for _, figure in FIGURES.items())


def test_the_callers_settings_and_pyplot_are_left_alone(zoo):
    before = dict(matplotlib.rcParams)
    for _, figure in FIGURES.items():
        figure.draw(zoo[:2])
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_reconstructions_show_the_lowest_seed_and_its_error():
    grey, white = np.zeros((2, 1, 4, 4), np.uint8), np.full((2, 1, 4, 4), 255, np.uint8)
    arrays = lambda image: {reconstructions.ORIGINALS: grey, reconstructions.RECONSTRUCTIONS: image}  # noqa: E731
    seeds = [
        model("ae", 8, seed, metrics={"mse": mse}, arrays=arrays(image))
        for seed, mse, image in ((1, 0.5, grey), (0, 0.0123, white))
    ]
    picture = reconstructions.draw(seeds)
    labels = [label.get_text() for label in picture.axes[0].get_yticklabels()]
    assert labels == ["originals", "ae-8\nMSE 0.0123"]
    canvas = np.asarray(picture.axes[0].images[0].get_array())
    assert (canvas[-(4 + GAP) :] == 255).all()


def test_samples_name_their_sampler_and_distance(zoo):
    titles = [axes.get_title(loc="left") for axes in samples.draw(zoo[:1]).axes]
    assert titles == ["pca-2\nprior: Fréchet 450.0", "pca-2\nmoment: Fréchet 150.0"]


def test_precision_and_recall_have_a_panel_for_each_sampler(zoo):
    axes = FIGURES["precision_recall"].draw(zoo).axes
    assert [each.get_title(loc="left") for each in axes] == list(SAMPLERS)
    lines = {line.get_label(): line for line in axes[0].lines}
    assert lines["ae"].get_xdata() == pytest.approx([0.14, 0.26, 0.42])
    assert lines["ae"].get_ydata() == pytest.approx([0.7, 0.85, 0.875])


def test_error_strips_show_originals_above_and_errors_below():
    grey, white = np.zeros((3, 1, 4, 4), np.uint8), np.full((3, 1, 4, 4), 255, np.uint8)
    arrays = {
        error_strips.ORIGINALS: white,
        error_strips.RECONSTRUCTIONS: grey,
        error_strips.ERRORS: np.array([0.00012, 0.0123, 0.2]),
    }
    axes = error_strips.draw([model("ae", 8, arrays=arrays)]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1e-4", ".012", ".2"]
    canvas = np.asarray(axes.images[0].get_array())
    assert (canvas[GAP : GAP + 4] == 255).all()
    assert (canvas[2 * GAP + 4 : 2 * GAP + 8, GAP : GAP + 4] == 0).all()


def test_draws_are_black_among_the_codes(zoo):
    axes = FIGURES["umap"].draw(zoo[:1]).axes[0]
    assert axes.get_title(loc="left") == "pca-2\nblack: moment Gaussian"
    drawn = next(c for c in axes.collections if len(c.get_offsets()) == 50)
    assert to_hex(drawn.get_facecolor()[0]) == style.INK


def test_umap_figures_are_stamped(zoo):
    assert "trust 0.97, k-NN overlap 0.42" in words(FIGURES["umap"].draw(zoo[:1]))


def test_latent_maps_state_the_dead_zone_mass_and_shade_it(zoo):
    axes = latent_maps.draw(zoo[:1]).axes[0]
    assert axes.get_title(loc="left") == "pca-2: dead-zone mass 0.123"
    shaded = np.asarray(axes.images[0].get_array()) < 1
    assert (shaded == zoo[0].arrays["coverage/plane_dead"]).all()


def test_the_ellipse_holds_95_percent_of_a_gaussian():
    mixing = np.array([[2.0, 0.5], [0.0, 0.3]])
    codes = np.random.default_rng(0).normal(size=(20_000, 2)) @ mixing + 7
    inside = matplotlib.path.Path(latent_maps.ellipse(codes)).contains_points(codes).mean()
    assert inside == pytest.approx(0.95, abs=0.006)


def test_decoded_planes_name_the_largest_and_the_smallest_class(zoo):
    assert "ae-2\nlargest: 9 (18%), smallest: 0 (2.0%)" in words(FIGURES["decoded_planes"].draw(zoo))


def test_difference_images_are_grey_where_nothing_differs():
    originals = np.array([[[[0, 100, 100, 250]]]], np.uint8)
    reconstructions = np.array([[[[0, 110, 90, 0]]]], np.uint8)
    assert worst_reconstructions.difference(originals, reconstructions).tolist() == [[[[128, 168, 88, 0]]]]


def test_worst_reconstructions_show_one_model_per_family(zoo):
    titles = [axes.get_title(loc="left") for axes in FIGURES["worst_reconstructions"].draw(zoo).axes]
    assert titles == ["pca-2", "ae-2", "vae-2 β=0.25"]
