"""Every analysis and metric there is: importing this registers them all, in the order of the tables."""

from __future__ import annotations

from latentbench.analysis import (  # noqa: F401  (each registers an analysis and its metrics)
    codebook,
    controls,
    coverage,
    crosschecks,
    embedding,
    estimators,
    importance,
    likelihood,
    probe,
    prompts,
    reconstruction,
    sampling,
    throughput,
    training,
    transfer,
    zero_shot,
)
from latentbench.analysis.measurement import ANALYSES
from latentbench.analysis.metric import METRICS
from latentbench.analysis.sweep import SWEEP_METRICS

__all__ = ["ANALYSES", "METRICS"]

# Another module may have imported one of them before: the order of a table must not depend on that.
ANALYSES.arrange(
    [
        "reconstruction",
        "likelihood",
        "codebook",
        "importance",
        "training",
        "estimators",
        "sampling",
        "crosschecks",
        "coverage",
        "probe",
        "zero_shot",
        "prompts",
        "controls",
        "transfer",
        "embedding",
        "throughput",
    ]
)
METRICS.arrange(
    dict.fromkeys(
        metric.name
        for metrics in (*(analysis.metrics for _, analysis in ANALYSES.items()), SWEEP_METRICS)
        for metric in metrics
    )
)
