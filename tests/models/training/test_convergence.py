"""A loss that still falls at the end is told from one that has settled, in any unit and noise."""

import numpy as np
import pytest

from latentbench.models.training.convergence import still_falling
from latentbench.models.training.history import History

STEPS = 1500


def history(curve, noise=0.0, seed=0):
    draws = np.random.default_rng(seed).normal(size=len(curve))
    return History({"loss": (curve * (1 + noise * draws)).astype(np.float32)})


def exponential(rate, floor):
    """A loss that falls to a floor; `rate` is how often it falls by e in the whole training."""
    return floor + np.exp(-rate * np.linspace(0, 1, STEPS))


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_loss_that_falls_to_the_end_is_still_falling(noise, unit):
    assert still_falling(history(unit * exponential(2.0, 0.1), noise)) is True


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_loss_that_has_settled_is_not_falling(noise, unit):
    assert still_falling(history(unit * exponential(20.0, 0.1), noise)) is False


def test_noise_alone_is_rarely_taken_for_a_fall():
    settled = [still_falling(history(np.ones(STEPS), 0.3, seed)) for seed in range(200)]
    assert sum(settled) <= 5


def test_a_fall_below_one_per_cent_does_not_count():
    steps = np.linspace(0, 1, STEPS)
    assert still_falling(history(1 - 0.03 * steps)) is False
    assert still_falling(history(1 - 0.06 * steps)) is True


def test_a_rising_loss_is_not_falling():
    assert still_falling(history(np.linspace(1, 2, STEPS))) is False


def test_a_negative_loss_may_be_falling():
    assert still_falling(history(-10 - 5 * np.linspace(0, 1, STEPS))) is True


@pytest.mark.parametrize("loss", [None, np.ones(20), np.full(STEPS, np.nan)])
def test_without_a_usable_loss_nothing_is_known(loss):
    terms = {} if loss is None else {"loss": loss}
    assert still_falling(History(terms)) is None
