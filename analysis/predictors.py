"""The cheap metrics that predict how well a learned generator does in the codes of a model.

Over the models of a run: Spearman's ρ of every other metric with the measured Fréchet distance of the flow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from latentbench.analysis.core.metric import MetricDefinition
from latentbench.analysis.definitions import definitions
from latentbench.analysis.statistics.rank_correlation import Correlation, correlation, distinguishable
from latentbench.analysis.stored.missing_mass import ANALYSIS_OF
from latentbench.analysis.stored.samplers import FLOW

TARGET = "frechet_flow"
TRAIN_FLOWS = frozenset({FLOW, ANALYSIS_OF[FLOW], "equal_flops"})
"""Analyses that train a flow: what they measure is no cheaper than the target."""
FEWEST = 8
"""The smallest number of models over which a correlation is shown."""
ENOUGH = 20
"""The number of models below which intervals are too wide to choose by."""
LEAST_SHARE = 0.8
"""A metric counts if this share of the models has it: others are correlated over models of another kind."""

Values = Mapping[str, Mapping[str, float]]
"""The value of each metric, averaged over seeds, by model."""


@dataclass(frozen=True)
class Predictor:
    """A metric and its correlation with the target."""

    metric: MetricDefinition
    correlation: Correlation
    worse_than_best: bool | None
    """True if the best predictor is surely better, over the models that have both; None for the best."""

    @property
    def verdict(self) -> str:
        """The comparison with the best predictor, in words."""
        if self.worse_than_best is None:
            return "best"
        return "worse" if self.worse_than_best else "not distinguishable"


def predictors(values: Values) -> list[Predictor]:
    """Return every metric that is measured without a flow, the largest |ρ| first; none for too few models."""
    models = [model for model, metrics in values.items() if TARGET in metrics]
    if len(models) < FEWEST:
        return []
    found: dict[MetricDefinition, tuple[list[str], Correlation]] = {}
    for metric in candidates():
        own = [model for model in models if metric.name in values[model]]
        if len(own) >= max(FEWEST, LEAST_SHARE * len(models)):
            one = _over(values, own, metric.name)
            if not math.isnan(one.value):
                found[metric] = own, one
    ordered = sorted(found, key=lambda metric: -abs(found[metric][1].value))
    return [
        Predictor(metric, found[metric][1], _compared(values, found, ordered[0], metric))
        for metric in ordered
    ]


def candidates() -> list[MetricDefinition]:
    """Return the metrics that need no trained flow; timings, which say nothing of a code, are left out."""
    return [
        metric
        for name, analysis in definitions().analyses.items()
        if name not in TRAIN_FLOWS and not analysis.exclusive
        for metric in analysis.metrics
    ]


def _over(values: Values, models: list[str], metric: str) -> Correlation:
    return correlation(
        [values[model][metric] for model in models], [values[model][TARGET] for model in models]
    )


def _compared(
    values: Values,
    found: Mapping[MetricDefinition, tuple[list[str], Correlation]],
    best: MetricDefinition,
    metric: MetricDefinition,
) -> bool | None:
    if metric == best:
        return None
    both = [model for model in found[best][0] if metric.name in values[model]]
    if len(both) < FEWEST:
        return False
    return distinguishable(_over(values, both, best.name), _over(values, both, metric.name))
