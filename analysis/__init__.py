"""Measure a model in one call, and the metrics as pure functions of tensors.

`measure` measures any module; the other names are the formulas behind the metrics. This list is the public
API of the package and stable: everything else in it may change.

>>> import torch
>>> from latentbench.analysis import psnr
>>> images = torch.full((2, 1, 8, 8), 0.5)
>>> [round(decibels, 2) for decibels in psnr(images, images + 0.1).tolist()]
[20.0, 20.0]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentbench.analysis.fidelity.clipped_density_coverage import clipped_density_coverage
    from latentbench.analysis.fidelity.generative_metrics import (
        authenticity,
        class_histogram_kl,
        density_coverage,
        frechet_distance,
        kernel_distance,
        precision_recall,
        vendi_score,
    )
    from latentbench.analysis.image_similarity import ms_ssim, mse, psnr, ssim
    from latentbench.analysis.latent.dead_zones import dead_zone_mass, leak
    from latentbench.analysis.latent.intrinsic_dimension import two_nn
    from latentbench.analysis.latent.overlap import overlap_coverage
    from latentbench.analysis.latent.umap import neighbour_overlap, trustworthiness
    from latentbench.analysis.one_call import measure
    from latentbench.analysis.rate.likelihood import active_units, kl_per_dim
    from latentbench.analysis.zero_shot.zero_shot_metrics import expected_calibration_error, retrieval_recall

# Loaded at first use: the command line imports this package and must start without torch.
_HOMES = {
    "active_units": "rate.likelihood",
    "authenticity": "fidelity.generative_metrics",
    "class_histogram_kl": "fidelity.generative_metrics",
    "clipped_density_coverage": "fidelity.clipped_density_coverage",
    "dead_zone_mass": "latent.dead_zones",
    "density_coverage": "fidelity.generative_metrics",
    "expected_calibration_error": "zero_shot.zero_shot_metrics",
    "frechet_distance": "fidelity.generative_metrics",
    "kernel_distance": "fidelity.generative_metrics",
    "kl_per_dim": "rate.likelihood",
    "leak": "latent.dead_zones",
    "measure": "one_call",
    "ms_ssim": "image_similarity",
    "mse": "image_similarity",
    "neighbour_overlap": "latent.umap",
    "overlap_coverage": "latent.overlap",
    "precision_recall": "fidelity.generative_metrics",
    "psnr": "image_similarity",
    "retrieval_recall": "zero_shot.zero_shot_metrics",
    "ssim": "image_similarity",
    "trustworthiness": "latent.umap",
    "two_nn": "latent.intrinsic_dimension",
    "vendi_score": "fidelity.generative_metrics",
}

__all__ = [
    "active_units",
    "authenticity",
    "class_histogram_kl",
    "clipped_density_coverage",
    "dead_zone_mass",
    "density_coverage",
    "expected_calibration_error",
    "frechet_distance",
    "kernel_distance",
    "kl_per_dim",
    "leak",
    "measure",
    "ms_ssim",
    "mse",
    "neighbour_overlap",
    "overlap_coverage",
    "precision_recall",
    "psnr",
    "retrieval_recall",
    "ssim",
    "trustworthiness",
    "two_nn",
    "vendi_score",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
