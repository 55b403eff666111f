"""Every analysis and metric: importing this module registers them all, in the order of the tables."""

from __future__ import annotations

from latentbench.analysis import reconstruction  # noqa: F401
from latentbench.analysis.coding import bits, image_cost  # noqa: F401
from latentbench.analysis.core.metric import METRICS
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.embeddings import embedding_bits, hard_negatives  # noqa: F401
from latentbench.analysis.generation import (  # noqa: F401
    equal_flops,
    feature_distances,
    flow_quality,
    label_free_frechet,
    sample_quality,
)
from latentbench.analysis.health import latent_health, missing_mass  # noqa: F401
from latentbench.analysis.latent import density_gaps, density_uniformity, probes, umap  # noqa: F401
from latentbench.analysis.performance import throughput  # noqa: F401
from latentbench.analysis.prompts import native_zero_shot  # noqa: F401
from latentbench.analysis.protocols import by_protocol  # noqa: F401
from latentbench.analysis.rate import (  # noqa: F401
    code_size,
    codebook,
    gradient_variance,
    importance_sampling,
    kl_dynamics,
    likelihood,
)
from latentbench.analysis.workloads.sweep_metrics import SWEEP_METRICS
from latentbench.analysis.zero_shot import compositional, controls, transfer  # noqa: F401

__all__ = ["ANALYSES", "METRICS"]

# Another module may have imported one of them before, and the order of a table must not depend on that.
ANALYSES.arrange(
    [
        "reconstruction",
        "features",
        "protocols",
        "code",
        "coding",
        "likelihood",
        "codebook",
        "importance",
        "training",
        "estimators",
        "sampling",
        "flow",
        "equal_flops",
        "crosschecks",
        "sample_features",
        "coverage",
        "latent_health",
        "density_uniformity",
        "missing_mass",
        "missing_mass_flow",
        "probe",
        "zero_shot",
        "prompts",
        "controls",
        "transfer",
        "embedding_bits",
        "hard_negatives",
        "embedding",
        "image_cost",
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
