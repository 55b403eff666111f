"""Every figure is drawn from a small made-up zoo, and checked through matplotlib's objects."""

import math

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex, to_rgb

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.figures.catalogue import FIGURES
from latentbench.analysis.figures.drawing import naming, scatter, style
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.analysis.figures.drawing.seeds import lowest_seeds
from latentbench.analysis.figures.drawing.tiles import GAP, tile
from latentbench.analysis.figures.health import (
    channel_statistics,
    equivariance_errors,
    missing_classes,
    missing_examples,
    noise_curve,
    spectra,
)
from latentbench.analysis.figures.images import error_strips, reconstructions, samples, worst_reconstructions
from latentbench.analysis.figures.latent import latent_maps
from latentbench.analysis.figures.performance.timed_models import looks
from latentbench.analysis.figures.training import (
    contrastive_history,
    kl_curves,
    kl_per_dim,
    kl_per_dim_history,
)
from latentbench.analysis.figures.zero_shot import prompt_spread, width_curve, zero_shot_bottleneck
from latentbench.analysis.generation.code_samplers import SAMPLERS
from latentbench.analysis.performance.point import SweepPoint
from latentbench.analysis.zero_shot.prompt_arrays import as_lines
from latentbench.data.captioned.schemes import DIGIT_CAPTIONS
from latentbench.models.family import FAMILIES, Display
from latentbench.models.spec import ForeignSpec
from latentbench.models.zoo import model_spec


def metric(name, value, se=None):
    return Metric(name, 1, value, se, 100, "", "neither", None if value is not None else "why not")


def model(family, latent_dim, seed=0, *, metrics=None, arrays=None, **settings):
    spec = model_spec(family=family, latent_dim=latent_dim, **settings)
    values = {name: metric(name, value) for name, value in (metrics or {}).items()}
    return ModelResult(spec.label, spec, seed, values, arrays or {})


def health(rng, latent_dim):
    """What the analyses of a latent space's health and of what is never sampled leave."""
    return {
        channel_statistics.MEANS: rng.normal(size=latent_dim),
        channel_statistics.DEVIATIONS: 0.5 + rng.random(latent_dim),
        spectra.EIGENVALUES: np.geomspace(1, 0.1, latent_dim),
        **{spectra.POWER.format(name): np.geomspace(1, 1e-3, 8) for name in ("codes", "images")},
        **{spectra.FREQUENCY.format(name): np.arange(1, 9) for name in ("codes", "images")},
        noise_curve.SIGMA: np.array([0.05, 0.1, 0.2, 0.5]),
        noise_curve.ERROR: np.array([1e-4, 4e-4, 2e-3, 1e-2]),
        missing_classes.CLASSES.format("moment"): rng.random(10),
        missing_classes.BY_ATTRIBUTE.format("moment"): rng.random((3, 4)),
        missing_examples.CLUSTERS.format("moment"): np.array([[0.1, 3], [0.05, -1]]),
        missing_examples.EXAMPLES.format("moment"): rng.integers(0, 256, (2, 3, 4, 1, 8, 8), dtype=np.uint8),
    }


def whole(family, latent_dim, seed=0, **settings):
    """A model with everything that an analysis may leave to draw from."""
    rng = np.random.default_rng(latent_dim + seed)
    images = lambda count: rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)  # noqa: E731
    arrays = {
        "reconstruction/originals": images(10),
        "reconstruction/reconstructions": images(10),
        "reconstruction/ranked_originals": images(10),
        "reconstruction/ranked_reconstructions": images(10),
        "reconstruction/ranked_mse": np.geomspace(1e-4, 0.2, 10),
        "coding/bits_per_pixel": np.array([0.01, 0.03, 0.06]) * latent_dim,
        "coding/mse": np.array([0.2, 0.15, 0.1]) / latent_dim,
        "coding/jpeg_bits_per_pixel": np.array([3.0, 4.0, 6.0]),
        "coding/jpeg_mse": np.array([0.03, 0.01, 0.002]),
        "coding/worst_originals": images(6),
        "coding/worst_reconstructions": images(6),
        "sampling/samples_prior": images(64),
        "sampling/samples_moment": images(64),
        "embedding/moment": rng.normal(size=(50, 2)).astype(np.float32),
        "embedding/embedding": rng.normal(size=(200, 2)).astype(np.float32),
        "embedding/labels": rng.integers(0, 10, 200).astype(np.uint16),
        **health(rng, latent_dim),
    }
    metrics = {
        "mse": 0.1 / latent_dim,
        "psnr": 10 + latent_dim,
        "encode_latency_seconds": 1e-4 + 1e-6 * latent_dim,
        "frechet_prior": 900.0 / latent_dim,
        "frechet_moment": 300.0 / latent_dim,
        "frechet_flow": 100.0 / latent_dim,
        **{f"frechet_at_{budget}_gflop": 1e4 / budget / latent_dim for budget in (100, 400, 1600, 6400)},
        "frechet_floor": 1.5,
        "zero_shot_top1": 0.1 * math.log2(latent_dim),
        **{f"precision_{sampler}": 0.9 - 0.4 / latent_dim for sampler in SAMPLERS},
        **{f"recall_{sampler}": 0.1 + 0.02 * latent_dim for sampler in SAMPLERS},
        "umap_trustworthiness": 0.975,
        "umap_knn_overlap": 0.425,
        "dead_zone_moment": 0.123,
        **dict.fromkeys(equivariance_errors.METRICS, 0.4),
    }
    if family == "vae":
        metrics["kl"] = 2.0 * latent_dim / settings.get("beta", 1)
        steps = np.arange(1, 401)
        arrays["history/kl"] = 5 + 20 * np.exp(-(np.log(steps / 60) ** 2) * 8) + rng.normal(0, 0.3, 400)
        arrays["history/kl_per_dim"] = rng.exponential(size=(400, latent_dim)).astype(np.float16)
        arrays["likelihood/kl_per_dim"] = rng.exponential(size=latent_dim)
        arrays["likelihood/active"] = np.arange(latent_dim) > 0
    if latent_dim == 2:
        arrays["coverage/codes"] = rng.normal(size=(300, 2)).astype(np.float32)
        arrays["coverage/labels"] = rng.integers(0, 10, 300)
        arrays["coverage/plane_extent"] = np.array([-3.0, 3.0, -3.0, 3.0])
        arrays["coverage/plane_dead"] = np.hypot(*np.mgrid[-3:3:100j, -3:3:100j]) > 2.5
        arrays["coverage/plane_images"] = rng.integers(0, 256, (1, 160, 160), dtype=np.uint8)
        arrays["coverage/plane_class"] = (
            np.repeat(np.arange(100) // 10, 100).reshape(100, 100).astype(np.int16)
        )
        arrays["coverage/class_area"] = np.linspace(0.02, 0.18, 10)
    return model(family, latent_dim, seed, metrics=metrics, arrays=arrays, **settings)


def timed_row(family, operation, batch, *, seconds, precision="fp32", **settings):
    """A row of a sweep of consistent numbers: 1 GFLOP and 0.1 GB per example, a peak of 100 GFLOP/s."""
    spec = model_spec(family=family, **settings)
    point = SweepPoint(operation=operation, batch=batch, precision=precision)
    values = {
        "examples_per_second": batch / seconds,
        "latency_seconds": seconds,
        "flops_per_second": 1e9 * batch / seconds,
        "bytes_per_second": 1e8 * batch / seconds,
        "peak_flops_per_second": 1e11,
        "bandwidth_bytes_per_second": 2e10,
    }
    metrics = {name: metric(name, value) for name, value in values.items()}
    return ModelResult(f"{spec.label} {point.label}", spec, 0, metrics, {}, point)


@pytest.fixture(scope="module")
def zoo():
    plain = [whole(family, width) for family in ("pca", "ae") for width in (2, 8, 16)]
    vaes = [
        whole("vae", width, seed, beta=beta, likelihood="gaussian", sigma=0.5**0.5)
        for width in (2, 16)
        for beta in (0.25, 1.0, 4.0)
        for seed in (0, 1)
    ]
    rows = [timed_row("ae", "encode", batch, seconds=0.1 * batch, latent_dim=2) for batch in (1, 8)]
    return plain + vaes + rows


def worded(family, latent_dim, seed=0):
    """An image–text model with everything that the pictures of words are drawn from."""
    rng = np.random.default_rng(latent_dim + seed)
    steps = np.arange(1, 201)
    scheme = DIGIT_CAPTIONS
    widths = np.array([2, 4, latent_dim])
    arrays = {f"history/{term}": rng.random() + 1 / steps for term in contrastive_history.TERMS}
    arrays |= {
        f"zero_shot/confusion_{factor.name}": rng.integers(0, 9, (len(factor.words),) * 2)
        + 90 * np.eye(len(factor.words), dtype=int)
        for factor in scheme.factors
    }
    arrays |= {
        prompt_spread.TEMPLATES: rng.random(7),
        prompt_spread.LINES: as_lines(scheme.templates + scheme.reworded),
        prompt_spread.SHORTENED: rng.random(3) / 3,
        prompt_spread.SHORTENED_LINES: as_lines(scheme.shortened),
        prompt_spread.RECALL: np.where(np.arange(90) % 5 == 0, rng.random(90), np.nan),
        prompt_spread.CLASSES: as_lines(scheme.captions),
        width_curve.WIDTHS: widths,
        width_curve.TRUNCATED: np.array([0.1, 0.3, 0.8]),
        width_curve.PCA: np.array([0.2, 0.6, 0.8]),
        **{f"embedding_bits/{reader}_bits": np.array([8, 64, 256]) for reader in ("towers", "own_text")},
        **{
            f"embedding_bits/{reader}_{what}": np.array([0.1, 0.5, 0.4])
            for reader in ("towers", "own_text")
            for what in ("accuracy", "retrieval")
        },
    }
    values = {"zero_shot_top1": 0.7, "native_zero_shot_top1": 0.8, "zero_shot_seen": 0.9, "prompt_top1": 0.75}
    return model(family, latent_dim, seed, metrics=values, arrays=arrays)


@pytest.fixture(scope="module")
def readers():
    return [worded(family, width) for family in ("clip", "siglip", "matryoshka") for width in (8, 32)]


@pytest.fixture(scope="module")
def everyone(zoo, readers):
    return zoo + readers


@pytest.fixture(autouse=True)
def themed():
    with style.theme():
        yield


def words(picture):
    return [text.get_text() for text in picture.findobj(matplotlib.text.Text) if text.get_text()]


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
    assert [label.get_text() for label in axes.get_xticklabels()] == [".0001", ".012", ".200"]
    canvas = np.asarray(axes.images[0].get_array())
    assert (canvas[GAP : GAP + 4] == 255).all()
    assert (canvas[2 * GAP + 4 : 2 * GAP + 8, GAP : GAP + 4] == 0).all()


def test_draws_are_black_among_the_codes(zoo):
    axes = FIGURES["umap"].draw(zoo[:1]).axes[0]
    assert axes.get_title(loc="left") == "pca-2\nblack: moment Gaussian"
    drawn = next(c for c in axes.collections if len(c.get_offsets()) == 50)
    assert to_hex(drawn.get_facecolor()[0]) == style.INK


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


def test_rate_and_distortion_have_a_panel_for_each_likelihood(zoo):
    bernoulli = model("vae", 8, metrics={"kl": 9.0, "mse": 0.1}, beta=1.0, likelihood="bernoulli")
    picture = FIGURES["rate_distortion"].draw([*zoo, bernoulli])
    titles = [axes.get_title(loc="left") for axes in picture.axes]
    assert titles == ["Gaussian likelihood, σ² = 0.5", "Bernoulli likelihood"]
    first = picture.axes[0].lines[0]
    assert list(first.get_xdata()) == [16.0, 4.0, 1.0]
    assert {"β=0.25", "β=1", "β=4"} <= set(words(picture))


def test_zero_shot_shows_chance_and_every_family_on_one_axis(zoo):
    axes = zero_shot_bottleneck.draw(zoo).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["chance (1.1%)"].get_ydata()[0] == pytest.approx(1 / 90)
    beside = np.array(lines["ae"].get_xdata()) / [2, 8, 16]
    assert beside == pytest.approx(beside[0])
    assert abs(np.log2(beside[0])) < 0.25
    assert not np.isclose(lines["pca"].get_xdata()[0], lines["ae"].get_xdata()[0])
    assert lines["ae"].get_ydata() == pytest.approx([0.1, 0.3, 0.4])
    assert axes.get_ylim()[1] <= 1.02
    assert {"pca", "ae", "vae β=0.25", "vae β=1", "vae β=4"} < set(lines)


def test_widths_of_one_family_have_shades_of_its_colour():
    specs = [model_spec(family="clip", latent_dim=width) for width in (64, 8, 32)]
    several = style.colours_by_width([*specs, model_spec(family="siglip", latent_dim=32)])
    assert several[3] == style.family_colour("siglip")
    brightness = [sum(to_rgb(each)) for each in several[:3]]
    assert brightness[1] > brightness[2] > brightness[0]


def test_trade_off_names_the_floor_and_the_widths(zoo):
    shown = words(FIGURES["trade_off"].draw(zoo))
    assert "moment-matched samples (floor 1.5)" in shown
    assert {"2", "8", "16"} <= set(shown)


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


def test_the_lowest_seed_that_has_the_arrays_is_shown():
    seeds = [
        model("ae", 2, 0),
        model("ae", 2, 2, arrays={"a": np.zeros(1)}),
        model("ae", 2, 1, arrays={"a": np.zeros(1)}),
    ]
    assert [shown.seed for shown in lowest_seeds(seeds, "a")] == [1]


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


@pytest.fixture
def sweep_rows():
    return [
        timed_row(family, operation, batch, seconds=batch / (10 + batch), precision=precision, latent_dim=16)
        for family in ("ae", "vae")
        for operation in ("encode", "decode")
        for batch in (64, 1, 8)
        for precision in ("fp32", "bf16")
    ]


def test_throughput_is_drawn_against_the_batch_in_rising_order(sweep_rows):
    picture = FIGURES["batch_size"].draw(sweep_rows)
    assert [axes.get_title(loc="left") for axes in picture.axes] == ["encode", "encode", "decode", "decode"]
    rates, waits = picture.axes[:2]
    assert list(rates.lines[0].get_xdata()) == [1, 8, 64]
    assert list(rates.lines[0].get_ydata()) == pytest.approx([11, 18, 74])
    assert list(waits.lines[0].get_ydata()) == pytest.approx([1000 / 11, 8000 / 18, 64000 / 74])
    assert {line.get_linestyle() for line in rates.lines} == {"-", ":"}


def test_models_of_one_family_are_told_apart_by_their_marker():
    specs = [model_spec(family="vae", latent_dim=width) for width in (2, 4, 8)]
    look = looks(specs)
    assert len(set(look.values())) == 3
    assert looks([*specs, specs[0]]) == look


def test_models_lie_below_the_peak_at_their_largest_batch(sweep_rows):
    picture = FIGURES["roofline"].draw(sweep_rows)
    encode = picture.axes[0]
    roof = encode.lines[0]
    assert max(roof.get_ydata()) == pytest.approx(100)  # GFLOP/s
    x, y = roof.get_xdata(), roof.get_ydata()
    assert y[0] == pytest.approx(20 * x[0])  # the slope is the bandwidth, 20 GB/s
    spots = [line for line in encode.lines if len(line.get_xdata()) == 1]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in spots] == [pytest.approx((10, 74))] * 2
    assert {text.get_text() for text in encode.texts} >= {"ae-16", "vae-16 β=1"}


def test_the_front_labels_unbeaten_models():
    def picked(latent_dim, psnr, seconds):
        return model("ae", latent_dim, metrics={"psnr": psnr, "encode_latency_seconds": seconds})

    models = [picked(2, 12.0, 1e-5), picked(8, 20.0, 1e-4), picked(16, 18.0, 2e-4), picked(32, 25.0, 1e-3)]
    (axes,) = FIGURES["quality_speed"].draw(models).axes
    assert {text.get_text() for text in axes.texts} - {""} == {"ae-2", "ae-8", "ae-32"}
    assert "3 of 4 on the front" in axes.get_title(loc="left")


def test_without_a_sweep_or_a_latency_there_is_nothing_to_draw():
    models = [model("ae", 2, metrics={"psnr": 12.0})]
    assert [FIGURES[name].draw(models) for name in ("batch_size", "roofline", "quality_speed")] == [None] * 3


# Words


def test_own_text_is_a_zero_shot_line_of_its_own(readers):
    labels = FIGURES["zero_shot_bottleneck"].draw(readers).axes[0].get_legend_handles_labels()[1]
    assert {"clip", "clip, own text", "siglip, own text"} <= set(labels)


def test_the_best_and_the_worst_zero_shot_captions_are_listed(readers):
    below = FIGURES["prompt_spread"].draw(readers[:1]).axes[1]
    recall, names = readers[0].arrays[prompt_spread.RECALL], DIGIT_CAPTIONS.captions
    listed = [label.get_text() for label in below.get_yticklabels()]
    assert listed[0] == names[int(np.nanargmin(recall))]
    assert listed[-1] == names[int(np.nanargmax(recall))]


def test_confusion_by_factor_shows_the_widest_clip(readers):
    shown = words(FIGURES["factor_confusion"].draw(readers))
    assert "clip-32: digit" in shown
    assert "clip-8: digit" not in shown


def test_codecs_are_curves_over_quality_next_to_codes(zoo):
    def codec(family, bits, error, **settings):
        spec = model_spec(family=family, **settings)
        arrays = {**zoo[0].arrays, "coding/bits_per_pixel": np.array([bits]), "coding/mse": np.array([error])}
        return ModelResult(spec.label, spec, 0, {}, arrays)

    webp = [codec("webp", 4.0, 0.001, quality=80), codec("webp", 2.0, 0.01, quality=20)]
    (axes,) = FIGURES["coded_rate_distortion"].draw([zoo[0], *webp, codec("png", 9.0, 0.0)]).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["JPEG, 13 qualities", "pca-2", "webp"]
    np.testing.assert_allclose(lines["webp"].get_xydata(), [[2.0, 20.0], [4.0, 30.0]])
    assert len(lines["pca-2"].get_xdata()) == 3


def test_difference_images_are_grey_where_nothing_differs():
    originals = np.array([[[[0, 100, 100, 250]]]], np.uint8)
    reconstructions = np.array([[[[0, 110, 90, 0]]]], np.uint8)
    assert worst_reconstructions.difference(originals, reconstructions).tolist() == [[[[128, 168, 88, 0]]]]


def test_worst_reconstructions_show_one_model_per_family(zoo):
    titles = [axes.get_title(loc="left") for axes in FIGURES["worst_reconstructions"].draw(zoo).axes]
    assert titles == ["pca-2", "ae-2", "vae-2 β=0.25"]
