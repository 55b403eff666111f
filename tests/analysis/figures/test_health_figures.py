"""The figures of latent health, checked through matplotlib's objects."""

import numpy as np
import pytest

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.figures.catalogue import FIGURES
from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.analysis.figures.health import (
    channel_statistics,
    equivariance_errors,
    missing_classes,
    missing_examples,
    noise_curve,
    spectra,
)
from latentbench.analysis.stored.missing_mass import array_name
from latentbench.models.zoo import model_spec


@pytest.fixture(autouse=True)
def theme():
    with style.theme():
        yield


def model(latent_dim, *, grid=False, **metrics):
    spec = model_spec(family="ae", latent_dim=latent_dim)
    arrays = {
        "channel_means": np.linspace(-1, 3, latent_dim),
        "channel_deviations": np.arange(1.0, latent_dim + 1),
        "eigenvalues": np.append(np.geomspace(8, 1, latent_dim - 1), 0.0),
        "images_frequency": np.arange(1.0, 9),
        "images_power": np.arange(1.0, 9) ** -2,
        "noise_sigma": np.array([0.05, 0.5]),
        "noise_mse": np.array([1e-4, 1e-2]),
    }
    if grid:
        arrays |= {"codes_frequency": np.arange(1.0, 4), "codes_power": 5 * np.arange(1.0, 4) ** -1}
    values = {
        name: Metric(name, 1, value, None if value is None else 0.01, 10, "", "neither")
        for name, value in metrics.items()
    }
    return ModelResult(
        spec.label, spec, 0, values, {f"latent_health/{name}": each for name, each in arrays.items()}
    )


def test_health_figures_need_the_analysis():
    spec = model_spec(family="ae", latent_dim=2)
    bare = ModelResult(spec.label, spec, 0, {}, {})
    for name in ("channel_statistics", "code_spectra", "equivariance", "noise_curve"):
        assert FIGURES[name].draw([bare]) is None


def test_channels_are_normalised_and_ordered_by_spread():
    fig = channel_statistics.draw([model(4, scaling_factor=0.5, shift_factor=1.0)])
    (bars,) = fig.axes[0].containers
    assert bars[0].get_ydata().tolist() == pytest.approx([1.0, (5 / 3 - 1) / 2, (1 / 3 - 1) / 2, -1.0])


def test_power_is_drawn_for_grids_alone():
    assert len(spectra.draw([model(4, participation_ratio=2.5)]).axes) == 1
    fig = spectra.draw([model(4), model(8, grid=True, spectral_slope_codes=-1.0, spectral_slope_images=-2.0)])
    lines = fig.axes[1].get_lines()
    assert [line.get_label() for line in lines] == ["ae-8: slope -1.00", "images: slope -2.00"]
    assert lines[0].get_ydata()[0] == lines[1].get_ydata()[0] == 1
    # A direction without variance has no place on a logarithmic axis.
    assert len(fig.axes[0].get_lines()[0].get_ydata()) == 3


def test_null_transforms_have_no_bar():
    fig = equivariance_errors.draw([model(4, equivariance_flip=0.5, equivariance_scale=None), model(8)])
    heights = [patch.get_height() for patch in fig.axes[0].patches]
    assert heights == [0.5]
    assert equivariance_errors.draw([model(8)]) is None


def test_noise_curves_have_their_reconstruction_error():
    fig = noise_curve.draw([model(4, mse=0.003), model(8)])
    curves = [line for line in fig.axes[0].get_lines() if len(line.get_xdata()) == 2]
    crosses = [line for line in fig.axes[0].get_lines() if line.get_marker() == "x"]
    assert [line.get_label() for line in curves] == ["ae-4", "ae-8"]
    assert [line.get_ydata()[0] for line in crosses] == [0.003]


def missing(latent_dim, sampler="moment", **arrays):
    spec = model_spec(family="ae", latent_dim=latent_dim)
    named = {array_name(name, sampler): array for name, array in arrays.items()}
    return ModelResult(spec.label, spec, 0, {}, named)


def test_missing_mass_is_drawn_by_class_and_attribute():
    shares, quarters = np.linspace(0, 1, 10), np.full((3, 4), 0.25)
    fig = missing_classes.draw([missing(2, classes=shares, attributes=quarters), missing(4)])
    by_class, by_attribute = (axes.get_images()[0].get_array() for axes in fig.axes)
    assert by_class.tolist() == [pytest.approx(shares.tolist())]
    assert by_attribute.shape == (1, 12)
    assert [text.get_text() for text in fig.axes[0].texts][-1] == "1.00"
    of_flow = missing_classes.draw([missing(2, "flow", classes=shares, attributes=quarters)])
    assert [label.get_text() for label in of_flow.axes[0].get_yticklabels()] == ["ae-2, flow"]
    without_labels = missing_classes.draw([missing(2, attributes=quarters)])
    assert len(without_labels.axes) == 1
    assert missing_classes.draw([missing(2)]) is None


def test_each_cluster_is_a_row_of_three_sides():
    examples = np.zeros((2, 3, 5, 1, 8, 8), np.uint8)
    fig = missing_examples.draw([missing(2, clusters=np.array([[0.2, 3], [0.1, -1]]), examples=examples)])
    (axes,) = fig.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["20.0%, class 3", "10.0%"]
    assert axes.get_images()[0].get_array().shape == (2 * 10 + 2, 15 * 10 + 2, 3)
    assert missing_examples.draw([missing(2)]) is None
