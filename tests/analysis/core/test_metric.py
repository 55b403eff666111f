"""Metrics: shares of hits, and registration by name."""

import pytest
import torch

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.core.metric import MetricDefinition, define
from latentbench.analysis.statistics.intervals import binomial_se

SHARE = MetricDefinition("share", unit="fraction", better="higher", title="A share.")


def test_share_has_its_binomial_error_and_n():
    hits = torch.arange(100) < 20
    metric = SHARE.share(hits)
    assert (metric.value, metric.se, metric.n, metric.unit) == (0.2, binomial_se(20, 100), 100, "fraction")


@pytest.mark.parametrize("hit", [True, False])
def test_share_of_all_or_none_is_not_certain(hit):
    metric = SHARE.share(torch.full((5,), hit))
    assert (metric.value, metric.se, metric.n) == (float(hit), binomial_se(0, 5), 5)


def test_an_error_of_zero_is_not_known():
    metric = SHARE.measured(0.5, se=0.0, common_se=0.0)
    assert (metric.value, metric.se, metric.common_se) == (0.5, None, None)


def test_a_metric_is_defined_once():
    assert "mse" in METRICS
    with pytest.raises(ValueError, match="'mse' is registered twice"):
        define("mse", title="A second definition.")


def test_a_value_that_is_not_finite_is_null_with_a_reason():
    metric = SHARE.measured(float("nan"), n=3)
    assert (metric.value, metric.reason, metric.n) == (None, "not finite (nan)", 3)
