"""Results per test image are stored compactly and read back unchanged."""

import numpy as np
import pytest

from latentbench.analysis.catalogue import METRICS
from latentbench.bench.store.per_example import packed, unpacked


def kept(name, values):
    metric = METRICS[name].measured(float(values.mean()), n=len(values))
    arrays = packed({name: values})
    return arrays, unpacked(arrays, metric)


def test_ten_thousand_hits_take_1250_bytes_and_come_back_exactly():
    hits = np.random.default_rng(0).random(9_999) < 0.3
    arrays, back = kept("zero_shot_top1", hits)
    assert arrays["examples/zero_shot_top1"].nbytes == 1250
    assert back.dtype == bool
    assert (back == hits).all()


@pytest.mark.parametrize(
    ("low", "high", "bytes_each"), [(0.001, 0.2, 2), (-900.0, -50.0, 2), (-1e6, -1e5, 4)]
)
def test_numbers_keep_three_digits_in_two_bytes_if_possible(low, high, bytes_each):
    values = np.random.default_rng(0).uniform(low, high, 1000)
    arrays, back = kept("mse", values)
    assert arrays["examples/mse"].nbytes == 1000 * bytes_each
    assert back == pytest.approx(values, rel=5e-4)


def test_missing_or_miscounted_examples_are_none():
    metric = METRICS["mse"].measured(0.1, n=10)
    assert unpacked({}, metric) is None
    assert unpacked(packed({"mse": np.zeros(9)}), metric) is None
    assert unpacked(packed({"mse": np.zeros(4, bool)}), metric) is None
    assert unpacked(packed({"mse": np.zeros(10)}), METRICS["mse"].measured(0.1)) is None
