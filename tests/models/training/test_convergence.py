"""A loss that falls to the end is told from one that has settled, in any unit, noise and schedule."""

import numpy as np
import pytest

from latentbench.models.training.convergence import still_falling
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import model_spec

STEPS = 1500
CONSTANT, COSINE = Recipe(schedule="constant"), Recipe(schedule="cosine")


def noisy(curve, noise=0.0, seed=0):
    return curve * (1 + noise * np.random.default_rng(seed).normal(size=len(curve)))


def exponential(rate, floor, steps=STEPS):
    """A loss that falls to a floor; `rate` is how often it falls by e in the whole training."""
    return floor + np.exp(-rate * np.linspace(0, 1, steps))


def descended(recipe, speed, steps=STEPS):
    """The loss ½ w² of gradient descent with the learning rates of a recipe, from w = 1."""
    learning_rate = (
        np.ones(steps) if recipe.schedule == "constant" else 1 + np.cos(np.linspace(0, np.pi, steps))
    )
    return np.exp(-speed * np.cumsum(learning_rate) / learning_rate.sum())


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("recipe", [CONSTANT, COSINE])
def test_a_loss_that_falls_to_the_end_is_still_falling(noise, unit, recipe):
    assert still_falling(noisy(unit * exponential(2.0, 0.1), noise), recipe) is True


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("recipe", [CONSTANT, COSINE])
def test_a_loss_that_has_settled_is_not_falling(noise, unit, recipe):
    assert still_falling(noisy(unit * exponential(20.0, 0.1), noise), recipe) is False


@pytest.mark.parametrize("recipe", [CONSTANT, COSINE])
@pytest.mark.parametrize(("speed", "falls"), [(0.1, False), (0.4, True)])
def test_the_schedule_does_not_decide(recipe, speed, falls):
    """The same descent, with a rate that falls to zero: its last steps change nothing."""
    assert still_falling(descended(recipe, speed), recipe) is falls
    last = descended(COSINE, speed)[-STEPS // 10 :]
    assert last[0] / last[-1] < 1.01


def test_noise_alone_is_rarely_taken_for_a_fall():
    found = [still_falling(noisy(np.ones(STEPS), 0.3, seed), COSINE) for seed in range(200)]
    assert sum(found) == 0


def test_a_fall_that_may_be_noise_does_not_count():
    few = exponential(0.35, 0.0, 100)
    assert still_falling(few, CONSTANT) is True
    assert still_falling(noisy(few, 0.3), CONSTANT) is False


def test_a_rising_loss_is_not_falling():
    assert still_falling(np.linspace(1, 2, STEPS), COSINE) is False


@pytest.mark.parametrize("loss", [np.empty(0), np.ones(20), np.full(STEPS, np.nan)])
def test_without_a_usable_loss_nothing_is_known(loss):
    assert still_falling(loss, CONSTANT) is None


@pytest.mark.parametrize("sigma", [None, 0.1])
def test_the_constant_of_a_likelihood_does_not_count(sigma):
    """A likelihood's loss is a squared error, in its unit, and the logarithm of a normalising constant."""
    spec = model_spec(family="vae", latent_dim=2, **({"sigma": sigma} if sigma else {}))
    squared_error = exponential(2.0, 0.1)
    variance = sigma**2 if sigma else 0.5
    loss = squared_error / (2 * variance) + 784 / 2 * np.log(2 * np.pi * variance)
    counted = spec.loss_from_zero(loss, (1, 28, 28))
    assert counted == pytest.approx(squared_error / (2 * variance))


@pytest.mark.parametrize("sigma", ["optimal", "learned"])
def test_a_free_variance_is_compared_by_the_error(sigma):
    """The loss with the best variance is a logarithm of the mean squared error."""
    spec = model_spec(family="vae", latent_dim=2, sigma=sigma)
    mse = exponential(2.0, 0.1)
    loss = 784 / 2 * (np.log(2 * np.pi * mse) + 1)
    counted = spec.loss_from_zero(loss, (1, 28, 28))
    assert counted / counted[0] == pytest.approx(mse / mse[0])


@pytest.mark.filterwarnings("error")
def test_a_training_that_nearly_diverged_is_judged_silently():
    spec = model_spec(family="vae", latent_dim=2, sigma="optimal")
    loss = np.r_[np.full(9, 1e6), np.linspace(-500, -900, STEPS)].astype(np.float32)
    assert still_falling(spec.loss_from_zero(loss, (1, 28, 28)), CONSTANT) is True


def test_other_losses_count_from_zero():
    assert model_spec(family="ae", latent_dim=2).loss_from_zero(np.ones(3), (1, 28, 28)).tolist() == [1, 1, 1]
    bernoulli = model_spec(family="vae", latent_dim=2, likelihood="bernoulli")
    assert bernoulli.loss_from_zero(np.ones(3), (1, 28, 28)).tolist() == [1, 1, 1]
