"""Every analysis and metric there is: importing this registers them all, in the order of the tables."""

from __future__ import annotations

from latentbench.analysis import (  # noqa: F401  (each registers an analysis and its metrics)
    codebook,
    controls,
    coverage,
    embedding,
    estimators,
    fidelity,
    importance,
    likelihood,
    probe,
    prompts,
    reconstruction,
    throughput,
    training,
    transfer,
    zero_shot,
)
from latentbench.analysis.measurement import ANALYSES
from latentbench.analysis.metric import METRICS

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
METRICS.arrange(metric.name for _, analysis in ANALYSES.items() for metric in analysis.metrics)
