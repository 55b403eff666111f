"""Figures of speed, rate and quality are checked through matplotlib's objects."""

import numpy as np
import pytest
from shared.figures import model, timed_row, words

from latentbench.analysis.figures.catalogue import FIGURES
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.analysis.figures.performance.timed_models import looks
from latentbench.models.zoo import model_spec


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


def test_rate_and_distortion_have_a_panel_for_each_likelihood(zoo):
    bernoulli = model("vae", 8, metrics={"kl": 9.0, "mse": 0.1}, beta=1.0, likelihood="bernoulli")
    picture = FIGURES["rate_distortion"].draw([*zoo, bernoulli])
    titles = [axes.get_title(loc="left") for axes in picture.axes]
    assert titles == ["Gaussian likelihood, σ² = 0.5", "Bernoulli likelihood"]
    first = picture.axes[0].lines[0]
    assert list(first.get_xdata()) == [16.0, 4.0, 1.0]
    assert {"β=0.25", "β=1", "β=4"} <= set(words(picture))


def test_trade_off_names_the_floor_and_the_widths(zoo):
    shown = words(FIGURES["trade_off"].draw(zoo))
    assert "moment-matched samples (floor 1.5)" in shown
    assert {"2", "8", "16"} <= set(shown)


def test_codecs_are_curves_over_quality_next_to_codes(zoo):
    def codec(family, bits, error, **settings):
        spec = model_spec(family=family, **settings)
        arrays = {
            **zoo[0].arrays,
            "coding/bits_per_pixel": np.array([bits]),
            "coding/mse": np.array([error]),
            "coding/jpeg_bits_per_pixel": np.array([4.0, 8.0]),
            "coding/jpeg_mse": np.array([0.01, 0.001]),
        }
        return ModelResult(spec.label, spec, 0, {}, arrays)

    webp = [codec("webp", 4.0, 0.001, quality=80), codec("webp", 2.0, 0.01, quality=20)]
    (axes,) = FIGURES["coded_rate_distortion"].draw([*webp, codec("png", 9.0, 0.0), zoo[0]]).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["JPEG, 13 qualities", "webp (−50%)", "pca-2"]
    np.testing.assert_allclose(lines["webp (−50%)"].get_xydata(), [[2.0, 20.0], [4.0, 30.0]])
    assert len(lines["pca-2"].get_xdata()) == 3
