"""The entropy coder: what it reads is what was written, and its files have the right size."""

import numpy as np
import pytest

from latentbench.analysis.coding.entropy_coder import Distribution, decode, encode

GAUSSIAN_BITS = 0.5 * np.log2(2 * np.pi * np.e) + 3
"""The entropy of a Gaussian rounded to an eighth of its standard deviation: 5.047 bits."""


def draws(count, *, seed=0, scale=8.0):
    return np.random.default_rng(seed).normal(scale=scale, size=count).round().astype(np.int32)


def test_gaussian_code_takes_its_entropy():
    train, test = draws(300_000), draws(2_000_000, seed=1)
    content = encode([test], [Distribution.fitted(train, deviation=8)])
    assert 5.0467 < GAUSSIAN_BITS < 5.0472
    # The entropy of these very draws under their true density, whose mean has an error of 0.0007 bits.
    exact = GAUSSIAN_BITS + ((test / 8.0) ** 2 - 1 - 1 / 768).mean() / 2 * np.log2(np.e)
    assert abs(8 * len(content) - exact * len(test)) < 0.001 * exact * len(test) + 64
    assert 8 * len(content) / len(test) == pytest.approx(GAUSSIAN_BITS, rel=0.002)


def test_few_train_codes_do_not_spoil_the_fit():
    test = draws(200_000, seed=1)
    content = encode([test], [Distribution.fitted(draws(300), deviation=8)])
    assert 8 * len(content) / len(test) < 1.01 * GAUSSIAN_BITS


def test_histogram_beats_the_gaussian_on_other_shapes():
    random = np.random.default_rng(2)
    train, test = (random.choice([-8, 8], size=50_000).astype(np.int32) for _ in range(2))
    content = encode([test], [Distribution.fitted(train, deviation=8)])
    assert 8 * len(content) / len(test) == pytest.approx(1.0, abs=0.01)


def test_file_gives_every_channel_back():
    channels = [draws(1000, scale=scale, seed=int(scale)) for scale in (1.0, 5.0, 90.0)]
    channels[1][[3, 500, 999]] = [2**30, -(2**30), 40_000]
    channels.append(np.zeros(1000, np.int32))
    fitted = [Distribution.fitted(draws(500, scale=4.0), deviation=4.0) for _ in channels]
    read = decode(encode(channels, fitted), [1000] * 4, fitted)
    for before, after in zip(channels, read, strict=True):
        np.testing.assert_array_equal(before, after)


def test_size_is_the_sum_of_the_bits_of_values():
    values = draws(100_000, scale=3.0)
    values[:5] = 10_000
    fitted = Distribution.fitted(draws(10_000, scale=3.0, seed=4), deviation=3.0)
    bits = fitted.bits(values)
    assert (bits[:5] > 32).all()
    assert abs(8 * len(encode([values], [fitted])) - bits.sum()) < 0.001 * bits.sum() + 64


def test_constant_channel_costs_nothing():
    fitted = Distribution.fitted(np.zeros(10_000, np.int32), deviation=0.0)
    assert 8 * len(encode([np.zeros(10_000, np.int32)], [fitted])) <= 128


def test_choices_take_the_entropy_of_their_shares():
    random = np.random.default_rng(3)
    train, test = (random.choice(4, size=100_000, p=[0.5, 0.25, 0.125, 0.125]).astype(np.int32) for _ in "ab")
    content = encode([test], [Distribution.of_choices(train, 4)])
    assert 8 * len(content) / len(test) == pytest.approx(1.75, rel=0.01)


def test_probabilities_sum_to_one():
    for values, deviation in ((draws(50), 8.0), (draws(50), 0.0), (np.array([2**30, 0], np.int32), 1.0)):
        assert Distribution.fitted(values, deviation=deviation).probabilities.sum() == pytest.approx(1)
