"""Train a member of the zoo, or take it from the cache where the same training was done before."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from platformdirs import user_cache_path

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models import checkpoint
from latentbench.models.backbones import ImageShape
from latentbench.models.checkpoint import Card, Checkpoint
from latentbench.models.families import ae, clip, pca, vae  # noqa: F401  (each registers a family)
from latentbench.models.family import FAMILIES, complete
from latentbench.models.recipe import Recipe
from latentbench.models.seeds import derive
from latentbench.models.spec import ModelSpec

__all__ = ["FAMILIES", "cache_root", "check_fits", "complete", "parameters", "prepare_cache", "train_or_load"]

FAMILIES.arrange(["pca", "ae", "vae", "clip"])

TRAINING_VERSION = 1
"""Part of a checkpoint's address: raise it when a change to training changes the weights."""

BYTES_PER_PARAMETER = 16
"""Weight, gradient and two moments of Adam, float32."""


def _ignore(done: int, total: int) -> None:
    """The progress of nobody who watches."""


def cache_root() -> Path:
    """Where checkpoints are kept: `$LATENTBENCH_CACHE`, or the user's cache folder."""
    override = os.environ.get("LATENTBENCH_CACHE")
    return Path(override) if override else user_cache_path("latentbench")


def prepare_cache() -> None:
    """Make sure that checkpoints can be written, before anything is trained."""
    try:
        (cache_root() / "checkpoints").mkdir(parents=True, exist_ok=True)
        (cache_root() / "checkpoints" / ".writable").touch()
    except OSError as error:
        raise LatentbenchError(
            f"cache {cache_root()}: cannot be written: {error.strerror}; "
            "name another folder in the environment variable LATENTBENCH_CACHE"
        ) from None


def address(spec: ModelSpec, data: ImageData, recipe: Recipe, seed: int, device: torch.device) -> str:
    """The content address of a training: the same inputs, device type and torch give the same hash."""
    content = {
        "training_version": TRAINING_VERSION,
        "spec": spec.model_dump(exclude_none=True),
        "data": data.fingerprint,
        "recipe": recipe.model_dump(),
        "seed": seed,
        "device": device.type,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def parameters(spec: ModelSpec, image_shape: ImageShape) -> int:
    """The number of values a model holds, counted without allocating them."""
    with torch.device("meta"):
        model = FAMILIES[spec.family].build(complete(spec), image_shape)
    return sum(tensor.numel() for tensor in model.state_dict().values())


def check_fits(spec: ModelSpec, image_shape: ImageShape, where: str) -> None:
    """Raise LatentbenchError if training the model needs more memory than the machine has."""
    needed = parameters(spec, image_shape) * BYTES_PER_PARAMETER
    available = psutil.virtual_memory().total
    if needed > available:
        raise LatentbenchError(
            f"{spec.label} ({where}) needs {needed / 1e9:,.0f} GB to train, this machine has "
            f"{available / 1e9:,.0f} GB; choose a smaller latent_dim or hidden"
        )


def train_or_load(
    spec: ModelSpec,
    data: ImageData,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = _ignore,
    use_cache: bool = True,
) -> Checkpoint:
    """The trained model of a spec, on `device`, from the cache if it is there.

    Raises Diverged if the loss stops being finite, LatentbenchError for a spec that cannot be built.
    A damaged cache entry is trained again.
    """
    spec, device = complete(spec), torch.device(device)
    folder = cache_root() / "checkpoints" / address(spec, data, recipe, seed, device)
    if use_cache and checkpoint.exists(folder):
        try:
            cached = checkpoint.load(folder)
            cached.model.to(device)
            return cached
        except LatentbenchError:
            pass
    trained = _train(spec, data, recipe, seed, device, progress)
    checkpoint.save(folder, trained)
    return replace(trained, folder=folder)


def _train(
    spec: ModelSpec,
    data: ImageData,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Checkpoint:
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial weights", spec.model_dump_json(exclude_none=True)))
        model = FAMILIES[spec.family].build(spec, data.image_shape)
    model.to(device)
    history = model.fit(data, recipe, seed=seed, device=device, progress=progress)
    card = Card(
        spec=spec,
        image_shape=data.image_shape,
        data=data.name,
        data_fingerprint=data.fingerprint,
        recipe=recipe,
        seed=seed,
        train_seconds=time.perf_counter() - started,
    )
    return Checkpoint(model.eval(), card, history)
