"""Every picture there is, in the order of the report: importing this registers them all."""

from __future__ import annotations

# ruff: isort: off
import latentbench.analysis.figures.reconstructions
import latentbench.analysis.figures.error_strips
import latentbench.analysis.figures.samples
import latentbench.analysis.figures.trade_off
import latentbench.analysis.figures.precision_recall
import latentbench.analysis.figures.rate_distortion
import latentbench.analysis.figures.quality_speed
import latentbench.analysis.figures.zero_shot_bottleneck
import latentbench.analysis.figures.seen_unseen
import latentbench.analysis.figures.factor_confusion
import latentbench.analysis.figures.prompt_spread
import latentbench.analysis.figures.width_curve
import latentbench.analysis.figures.contrastive_history
import latentbench.analysis.figures.latent_maps
import latentbench.analysis.figures.decoded_planes
import latentbench.analysis.figures.umap_pictures
import latentbench.analysis.figures.kl_curves
import latentbench.analysis.figures.kl_per_dim_history
import latentbench.analysis.figures.kl_per_dim
import latentbench.analysis.figures.batch_size
import latentbench.analysis.figures.roofline  # noqa: F401
from latentbench.analysis.figures.registry import FIGURES

__all__ = ["FIGURES"]
