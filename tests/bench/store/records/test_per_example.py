"""Results per test image are stored compactly and read back unchanged."""

import numpy as np
import pytest

from latentbench.analysis.catalogue import METRICS
from latentbench.bench.store.records.per_example import packed, unpacked


def kept(name, values):
    metric = METRICS[name].measured(float(values.mean()), n=len(values))
    arrays = packed({name: values})
    return arrays, unpacked(arrays, metric).values


def test_clusters_are_kept_by_their_sizes():
    hits, captions = np.array([True, False, True, True, False]), np.array([71, 5, 5, 71, 30])
    metric = METRICS["zero_shot_top1"].measured(0.6, n=5)
    arrays = packed({metric.name: hits}, {metric.name: captions})
    assert sum(array.nbytes for array in arrays.values()) == 1 + 3 * 4
    back = unpacked(arrays, metric)
    assert back.clusters.tolist() == [0, 0, 1, 2, 2]
    assert back.values.tolist() == [False, True, False, True, True]


def test_examples_without_clusters_have_none():
    metric = METRICS["mse"].measured(0.5, n=2)
    assert unpacked(packed({"mse": np.array([0.0, 1.0])}), metric).clusters is None
    damaged = packed({"mse": np.zeros(2)}, {"mse": np.zeros(2)}) | {
        "examples/mse/cluster_sizes": np.array([3])
    }
    assert unpacked(damaged, metric) is None


def test_ten_thousand_hits_are_stored_in_1250_bytes():
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
