"""KL dynamics: known answers on hand-made curves, and the history of a real VAE."""

import numpy as np
import pytest

from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.rate.kl_curve import last_steps, smoothed, spike
from latentbench.analysis.rate.kl_dynamics import training
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, train_or_load

STEPS = np.arange(1000)


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


@pytest.fixture
def measured(vae):
    """The metrics of a history with these terms."""

    def measure(**terms):
        arrays = {name: np.asarray(curve, np.float32) for name, curve in terms.items()}
        return by_name(training(Subject(vae.model, vae.context, seed=0, history=History(arrays))))

    return measure


def test_spike_is_at_the_peak_and_absent_in_rising_curves():
    steps = np.arange(400)
    assert spike(5 + 20 * np.exp(-((steps - 60) ** 2) / 50)) == 60
    assert spike(np.linspace(0, 20, 400)) is None
    assert spike(np.full(400, 5.0)) is None


def test_smoothing_keeps_a_line_and_removes_noise():
    inner = slice(0, 900)
    assert smoothed(np.full(1000, 3.0)) == pytest.approx(np.full(1000, 3.0))
    assert smoothed(STEPS.astype(float))[inner] == pytest.approx(STEPS[inner])
    noise = smoothed(np.random.default_rng(0).normal(size=1000))
    assert noise[500:].std() < 0.3


def test_smoothing_reaches_a_share_of_the_steps_so_far():
    assert smoothed((STEPS == 100).astype(float))[[90, 94, 95, 100, 105, 107]] == pytest.approx(
        [0, 0, 1 / 11, 1 / 11, 1 / 13, 0]
    )


def test_the_last_tenth_is_never_empty():
    assert last_steps(np.arange(4)).tolist() == [3]
    assert last_steps(np.arange(40)).tolist() == [36, 37, 38, 39]


def test_a_wide_spike_is_measured(measured):
    curve = 6 + 18 * np.exp(-(((STEPS - 199) / 100) ** 2))
    found = measured(kl=curve)
    # Steps 189 to 209 are averaged at the top.
    top = 6 + 18 * np.exp(-((np.arange(-10, 11) / 100) ** 2)).mean()
    assert found["kl_peak"].value == pytest.approx(top, rel=1e-3)
    assert found["kl_peak_step"].value == pytest.approx(200, abs=3)
    assert found["kl_settled"].value == pytest.approx(6, rel=1e-4)
    assert found["kl_spike"].value == pytest.approx(found["kl_peak"].value / 6, rel=1e-4)
    assert {found[name].n for name in ("kl_peak", "kl_peak_step", "kl_settled", "kl_spike")} == {1000}


def test_constant_has_ratio_one_and_line_peaks_at_its_end(measured):
    flat = measured(kl=np.full(1000, 2.5))
    assert flat["kl_peak"].value == flat["kl_settled"].value == 2.5
    assert flat["kl_spike"].value == 1
    rising = measured(kl=STEPS / 100)
    assert rising["kl_peak_step"].value == 1000
    assert 1 < rising["kl_spike"].value < 1.1
    assert rising["kl_settled"].value == pytest.approx(9.4, abs=0.2)


def test_a_single_high_batch_late_in_training_is_no_spike(measured):
    curve = np.full(1000, 5.0)
    curve[600] = 25
    found = measured(kl=curve)
    assert found["kl_spike"].value < 1.1
    assert 570 <= found["kl_peak_step"].value <= 632


def test_a_collapsed_code_has_a_peak_and_no_ratio(measured):
    found = measured(kl=np.where(STEPS < 100, 1.0, 0.0))
    assert found["kl_peak"].value == 1
    assert found["kl_settled"].value == 0
    assert found["kl_spike"].value is None
    assert found["kl_spike"].reason == "the KL settles at 0"


def test_the_gradients_norm_is_the_median_of_the_last_tenth(measured):
    norms = np.full(1000, 100.0)
    norms[900:] = 2
    norms[950] = 1e6
    metric = measured(loss=STEPS, gradient_norm=norms)["gradient_norm_last"]
    assert (metric.value, metric.n) == (2, 100)


def test_histories_without_a_term_say_why(measured):
    closed_form = measured()
    assert {metric.value for metric in closed_form.values()} == {None}
    assert {m.reason for m in closed_form.values()} == {"no training history: not trained step by step here"}
    autoencoder = measured(loss=STEPS, gradient_norm=np.ones(1000))
    assert autoencoder["kl_spike"].reason == "the objective has no KL term"
    assert autoencoder["gradient_norm_last"].value == 1
    assert measured(kl=STEPS)["gradient_norm_last"].reason == "the gradient's norm was not recorded"


def test_the_history_of_a_real_training(vae, context, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    spec = model_spec(family="vae", latent_dim=4, hidden=64)
    trained = train_or_load(Training(spec, Recipe(epochs=3), 0), context.data)
    found = by_name(training(Subject(trained.model, context, seed=0, history=trained.history)))
    assert list(found) == [definition.name for definition in ANALYSES["training"].metrics]
    kl = trained.history.terms["kl"]
    assert kl.min() < found["kl_peak"].value <= kl.max()
    assert 1 <= found["kl_peak_step"].value <= len(kl)
    assert found["kl_spike"].value >= 1
    assert found["gradient_norm_last"].value > 0
