"""Every figure, in the order of the report: importing this module registers them all."""

from __future__ import annotations

# ruff: isort: off
import latentbench.analysis.figures.images.reconstructions
import latentbench.analysis.figures.images.error_strips
import latentbench.analysis.figures.images.worst_reconstructions
import latentbench.analysis.figures.images.samples
import latentbench.analysis.figures.generation.sampler_distances
import latentbench.analysis.figures.generation.flow_predictors
import latentbench.analysis.figures.generation.equal_cost
import latentbench.analysis.figures.trade_offs.trade_off
import latentbench.analysis.figures.trade_offs.precision_recall
import latentbench.analysis.figures.trade_offs.rate_distortion
import latentbench.analysis.figures.trade_offs.coded_rate_distortion
import latentbench.analysis.figures.trade_offs.quality_speed
import latentbench.analysis.figures.zero_shot.zero_shot_bottleneck
import latentbench.analysis.figures.zero_shot.seen_unseen
import latentbench.analysis.figures.zero_shot.factor_confusion
import latentbench.analysis.figures.zero_shot.prompt_spread
import latentbench.analysis.figures.zero_shot.width_curve
import latentbench.analysis.figures.zero_shot.embedding_bits
import latentbench.analysis.figures.training.contrastive_history
import latentbench.analysis.figures.latent.latent_maps
import latentbench.analysis.figures.latent.decoded_planes
import latentbench.analysis.figures.latent.umap_maps
import latentbench.analysis.figures.health.missing_classes
import latentbench.analysis.figures.health.missing_examples
import latentbench.analysis.figures.health.channel_statistics
import latentbench.analysis.figures.health.spectra
import latentbench.analysis.figures.health.equivariance_errors
import latentbench.analysis.figures.health.noise_curve
import latentbench.analysis.figures.training.kl_curves
import latentbench.analysis.figures.training.kl_per_dim_history
import latentbench.analysis.figures.training.kl_per_dim
import latentbench.analysis.figures.performance.batch_size
import latentbench.analysis.figures.performance.roofline_plot  # noqa: F401
from latentbench.analysis.figures.drawing.registry import FIGURES

__all__ = ["FIGURES"]
