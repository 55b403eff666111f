"""A small made-up zoo with everything that figures are drawn from."""

import math

import matplotlib
import numpy as np

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.analysis.figures.health import (
    channel_statistics,
    equivariance_errors,
    noise_curve,
    spectra,
)
from latentbench.analysis.figures.training import (
    contrastive_history,
)
from latentbench.analysis.figures.zero_shot import prompt_spread, width_curve
from latentbench.analysis.performance.point import SweepPoint
from latentbench.analysis.stored.lines import as_lines
from latentbench.analysis.stored.missing_mass import array_name
from latentbench.analysis.stored.samplers import SAMPLERS
from latentbench.data.captioned.schemes import DIGIT_CAPTIONS
from latentbench.models.zoo import model_spec


def metric(name, value, se=None):
    return Metric(name, 1, value, se, 100, "", "neither", None if value is not None else "why not")


def model(family, latent_dim, seed=0, *, metrics=None, arrays=None, **settings):
    spec = model_spec(family=family, latent_dim=latent_dim, **settings)
    values = {name: metric(name, value) for name, value in (metrics or {}).items()}
    return ModelResult(spec.label, spec, seed, values, arrays or {})


def health(rng, latent_dim):
    """Arrays that the analyses of a latent space's health and of missing mass store."""
    return {
        channel_statistics.MEANS: rng.normal(size=latent_dim),
        channel_statistics.DEVIATIONS: 0.5 + rng.random(latent_dim),
        spectra.EIGENVALUES: np.geomspace(1, 0.1, latent_dim),
        **{spectra.POWER.format(name): np.geomspace(1, 1e-3, 8) for name in ("codes", "images")},
        **{spectra.FREQUENCY.format(name): np.arange(1, 9) for name in ("codes", "images")},
        noise_curve.SIGMA: np.array([0.05, 0.1, 0.2, 0.5]),
        noise_curve.ERROR: np.array([1e-4, 4e-4, 2e-3, 1e-2]),
        array_name("classes", "moment"): rng.random(10),
        array_name("attributes", "moment"): rng.random((3, 4)),
        array_name("clusters", "moment"): np.array([[0.1, 3], [0.05, -1]]),
        array_name("examples", "moment"): rng.integers(0, 256, (2, 3, 4, 1, 8, 8), dtype=np.uint8),
    }


def whole(family, latent_dim, seed=0, **settings):
    """A model with everything that an analysis may leave to draw from."""
    rng = np.random.default_rng(latent_dim + seed)
    images = lambda count: rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)  # noqa: E731
    arrays = {
        "reconstruction/originals": images(10),
        "reconstruction/reconstructions": images(10),
        "reconstruction/ranked_originals": images(10),
        "reconstruction/ranked_reconstructions": images(10),
        "reconstruction/ranked_mse": np.geomspace(1e-4, 0.2, 10),
        "coding/bits_per_pixel": np.array([0.01, 0.03, 0.06]) * latent_dim,
        "coding/mse": np.array([0.2, 0.15, 0.1]) / latent_dim,
        "coding/jpeg_bits_per_pixel": np.array([3.0, 4.0, 6.0]),
        "coding/jpeg_mse": np.array([0.03, 0.01, 0.002]),
        "coding/worst_originals": images(6),
        "coding/worst_reconstructions": images(6),
        "sampling/samples_prior": images(64),
        "sampling/samples_moment": images(64),
        "embedding/moment": rng.normal(size=(50, 2)).astype(np.float32),
        "embedding/embedding": rng.normal(size=(200, 2)).astype(np.float32),
        "embedding/labels": rng.integers(0, 10, 200).astype(np.uint16),
        **health(rng, latent_dim),
    }
    metrics = {
        "mse": 0.1 / latent_dim,
        "psnr": 10 + latent_dim,
        "encode_latency_seconds": 1e-4 + 1e-6 * latent_dim,
        "frechet_prior": 900.0 / latent_dim,
        "frechet_moment": 300.0 / latent_dim,
        "frechet_flow": 100.0 / latent_dim,
        **{f"frechet_at_{budget}_gflop": 1e4 / budget / latent_dim for budget in (100, 400, 1600, 6400)},
        "frechet_floor": 1.5,
        "zero_shot_top1": 0.1 * math.log2(latent_dim),
        **{f"precision_{sampler}": 0.9 - 0.4 / latent_dim for sampler in SAMPLERS},
        **{f"recall_{sampler}": 0.1 + 0.02 * latent_dim for sampler in SAMPLERS},
        "umap_trustworthiness": 0.975,
        "umap_knn_overlap": 0.425,
        "dead_zone_moment": 0.123,
        **dict.fromkeys(equivariance_errors.METRICS, 0.4),
    }
    if family == "vae":
        metrics["kl"] = 2.0 * latent_dim / settings.get("beta", 1)
        steps = np.arange(1, 401)
        arrays["history/kl"] = 5 + 20 * np.exp(-(np.log(steps / 60) ** 2) * 8) + rng.normal(0, 0.3, 400)
        arrays["history/kl_per_dim"] = rng.exponential(size=(400, latent_dim)).astype(np.float16)
        arrays["likelihood/kl_per_dim"] = rng.exponential(size=latent_dim)
        arrays["likelihood/active"] = np.arange(latent_dim) > 0
    if latent_dim == 2:
        arrays["coverage/codes"] = rng.normal(size=(300, 2)).astype(np.float32)
        arrays["coverage/labels"] = rng.integers(0, 10, 300)
        arrays["coverage/plane_extent"] = np.array([-3.0, 3.0, -3.0, 3.0])
        arrays["coverage/plane_dead"] = np.hypot(*np.mgrid[-3:3:100j, -3:3:100j]) > 2.5
        arrays["coverage/plane_images"] = rng.integers(0, 256, (1, 160, 160), dtype=np.uint8)
        arrays["coverage/plane_class"] = (
            np.repeat(np.arange(100) // 10, 100).reshape(100, 100).astype(np.int16)
        )
        arrays["coverage/class_area"] = np.linspace(0.02, 0.18, 10)
    return model(family, latent_dim, seed, metrics=metrics, arrays=arrays, **settings)


def timed_row(family, operation, batch, *, seconds, precision="fp32", **settings):
    """A row of a sweep of consistent numbers: 1 GFLOP and 0.1 GB per example, a peak of 100 GFLOP/s."""
    spec = model_spec(family=family, **settings)
    point = SweepPoint(operation=operation, batch=batch, precision=precision)
    values = {
        "examples_per_second": batch / seconds,
        "latency_seconds": seconds,
        "flops_per_second": 1e9 * batch / seconds,
        "bytes_per_second": 1e8 * batch / seconds,
        "peak_flops_per_second": 1e11,
        "bandwidth_bytes_per_second": 2e10,
    }
    metrics = {name: metric(name, value) for name, value in values.items()}
    return ModelResult(f"{spec.label} {point.label}", spec, 0, metrics, {}, point)


def worded(family, latent_dim, seed=0):
    """An image–text model with everything that the pictures of words are drawn from."""
    rng = np.random.default_rng(latent_dim + seed)
    steps = np.arange(1, 201)
    scheme = DIGIT_CAPTIONS
    widths = np.array([2, 4, latent_dim])
    arrays = {f"history/{term}": rng.random() + 1 / steps for term in contrastive_history.TERMS}
    arrays |= {
        f"zero_shot/confusion_{factor.name}": rng.integers(0, 9, (len(factor.words),) * 2)
        + 90 * np.eye(len(factor.words), dtype=int)
        for factor in scheme.factors
    }
    arrays |= {
        prompt_spread.TEMPLATES: rng.random(7),
        prompt_spread.LINES: as_lines(scheme.templates + scheme.reworded),
        prompt_spread.SHORTENED: rng.random(3) / 3,
        prompt_spread.SHORTENED_LINES: as_lines(scheme.shortened),
        prompt_spread.RECALL: np.where(np.arange(90) % 5 == 0, rng.random(90), np.nan),
        prompt_spread.CLASSES: as_lines(scheme.captions),
        width_curve.WIDTHS: widths,
        width_curve.TRUNCATED: np.array([0.1, 0.3, 0.8]),
        width_curve.PCA: np.array([0.2, 0.6, 0.8]),
        **{f"embedding_bits/{reader}_bits": np.array([8, 64, 256]) for reader in ("towers", "own_text")},
        **{
            f"embedding_bits/{reader}_{what}": np.array([0.1, 0.5, 0.4])
            for reader in ("towers", "own_text")
            for what in ("accuracy", "retrieval")
        },
    }
    values = {"zero_shot_top1": 0.7, "native_zero_shot_top1": 0.8, "zero_shot_seen": 0.9, "prompt_top1": 0.75}
    return model(family, latent_dim, seed, metrics=values, arrays=arrays)


def words(picture):
    return [text.get_text() for text in picture.findobj(matplotlib.text.Text) if text.get_text()]
