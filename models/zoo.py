"""Train members of the zoo, or take them from the cache where the same training was done before."""

from __future__ import annotations

import hashlib
import json
import pkgutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import torch

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.storage.cache import cache_root, prepare_cache
from latentbench.models import checkpoint, external, families
from latentbench.models.checkpoint import Checkpoint, ModelCard
from latentbench.models.family import (
    FAMILIES,
    AnySpec,
    Family,
    GradientFamily,
    find_family,
    fit_stack,
    model_spec,
)
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.resolver import Resolver
from latentbench.models.seeds import derive
from latentbench.models.source_code.hashes import family_code, training_code
from latentbench.models.spec import ModelSpec
from latentbench.models.training.engine import Progress
from latentbench.models.training.history import Diverged, History
from latentbench.models.training.recipe import Recipe

__all__ = [
    "FAMILIES",
    "AnySpec",
    "Training",
    "cache_root",
    "can_stack",
    "check_fits",
    "model_spec",
    "parameters",
    "prepare_cache",
    "resolve",
    "stacks",
    "takes_seed",
    "train_or_load",
    "train_or_load_stack",
]

# Every module of these packages registers its families when it is imported.
for _package in (families, external):
    for _module in pkgutil.walk_packages(_package.__path__, f"{_package.__name__}."):
        import_module(_module.name)
FAMILIES.arrange(sorted(FAMILIES, key=lambda name: FAMILIES[name].display.order))

BYTES_PER_PARAMETER = 16
"""Weight, gradient and two moments of Adam, float32."""
BYTES_PER_VALUE = 4
"""Bytes of each value that a step computes, float32."""


Note = Callable[[str], None]
"""Takes a message for the user."""


@dataclass(frozen=True)
class Training:
    """One training except for the data: a spec, a recipe and a seed."""

    spec: ModelSpec
    recipe: Recipe
    seed: int


def _ignore(done: int, total: int) -> None:
    """Report no progress."""


def _unheard(message: str) -> None:
    """Pass no message on."""


def address(training: Training, data: ImageData, device: torch.device, *, stacked: bool) -> str:
    """Return the content address of a training: equal inputs, code, device type and torch give an equal hash.

    A model trained in a stack equals one trained alone to rounding only, so it has a separate address.
    """
    content = {
        "code": [training_code(), family_code(training.spec.family)],
        "spec": training.spec.model_dump(exclude_none=True),
        "data": data.fingerprint,
        "recipe": training.recipe.model_dump(),
        "seed": training.seed,
        "device": device.type,
        "torch": torch.__version__,
        "stacked": stacked,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def resolve(spec: ModelSpec, data: ImageData, resolver: Resolver | None = None) -> ModelSpec:
    """Return the spec as it can be trained on `data`: an imported model gets its width and its weights.

    Without a resolver, files are looked up from the current directory. Raises LatentbenchError.
    """
    resolved: ModelSpec = find_family(spec.family).resolve(spec, data, resolver or Resolver())
    return resolved


def parameters(spec: ModelSpec, image_shape: ImageShape) -> int:
    """Count the values that training a model has to hold, without allocating them."""
    return find_family(spec.family).values_to_train(spec, image_shape)


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
    training: Training,
    data: ImageData,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = _ignore,
    note: Note = _unheard,
    use_cache: bool = True,
) -> Checkpoint:
    """Return the trained model, on `device`, from the cache if it is there.

    Raises Diverged if the loss stops being finite, LatentbenchError for a spec that cannot be built.
    A cached model that was changed, or is another than requested, is reported and trained again.
    """
    device = torch.device(device)
    card = _card(training, data, device, stacked=False)
    if use_cache and (cached := _cached(card, device, note)):
        return cached
    started = time.perf_counter()
    model = untrained(training, data, device)
    history = model.fit(data, training.recipe, seed=training.seed, device=device, progress=progress)
    return _kept(model, history, card, time.perf_counter() - started)


def train_or_load_stack(
    trainings: Sequence[Training],
    data: ImageData,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = _ignore,
    note: Note = _unheard,
    use_cache: bool = True,
) -> list[Checkpoint | Diverged]:
    """Train the models of one stack pattern and recipe as one stack, except those that are in the cache.

    Returns each training's outcome, in order. On one machine a member's weights do not depend on the others.
    """
    device = torch.device(device)
    pattern = stack_pattern(trainings[0].spec)
    if pattern is None:
        raise ValueError(f"{trainings[0].spec.label} cannot be stacked")
    cards = [_card(training, data, device, stacked=True) for training in trainings]
    outcomes: list[Checkpoint | Diverged | None] = [
        _cached(card, device, note) if use_cache else None for card in cards
    ]
    todo = [position for position, outcome in enumerate(outcomes) if outcome is None]
    if todo:
        started = time.perf_counter()
        members = [untrained(trainings[position], data, device) for position in todo]
        histories = fit_stack(
            [member for member in members if isinstance(member, GradientFamily)],
            pattern,
            data,
            trainings[0].recipe,
            seeds=[trainings[position].seed for position in todo],
            device=device,
            progress=progress,
        )
        seconds = (time.perf_counter() - started) / len(todo)
        for position, model, history in zip(todo, members, histories, strict=True):
            outcomes[position] = (
                history
                if isinstance(history, Diverged)
                else _kept(model, history, cards[position], seconds, len(todo))
            )
    return [outcome for outcome in outcomes if outcome is not None]


def takes_seed(spec: ModelSpec) -> bool:
    """Return True if the seed changes the model, unlike with a closed form or loaded weights."""
    return find_family(spec.family).takes_seed


def can_stack(spec: ModelSpec) -> bool:
    """Return True if models like this one can be trained as one stack."""
    return stack_pattern(spec) is not None


def stack_pattern(spec: ModelSpec) -> ModelSpec | None:
    family = find_family(spec.family)
    return family.stack_pattern(spec) if issubclass(family, GradientFamily) else None


def stacks(
    trainings: Sequence[Training], image_shape: ImageShape, *, memory_bytes: float, largest: int | None = None
) -> list[list[int]]:
    """Group trainings, by position, into those that can be trained as one stack; the others stay alone.

    A stack takes at most `memory_bytes`, as far as this can be estimated, and has at most `largest` members.
    """
    groups: dict[object, list[int]] = {}
    for position, training in enumerate(trainings):
        key = stack_pattern(training.spec)
        groups.setdefault(position if key is None else (key, training.recipe), []).append(position)
    found: list[list[int]] = []
    for group in groups.values():
        size = len(group)
        if size > 1:
            needed = max(training_bytes(trainings[position], image_shape) for position in group)
            size = max(1, min(int(memory_bytes / needed), largest or size))
        found += [group[start : start + size] for start in range(0, len(group), size)]
    return found


def training_bytes(training: Training, image_shape: ImageShape) -> float:
    """Estimate the bytes of one member of a stack: weights, their moments, and the values of a step."""
    spec, batch_size = training.spec, training.recipe.batch_size
    family = find_family(spec.family)
    assert issubclass(family, GradientFamily)
    values = family.values_of_a_step(spec, batch_size, image_shape)
    return BYTES_PER_PARAMETER * parameters(spec, image_shape) + BYTES_PER_VALUE * values


def _card(training: Training, data: ImageData, device: torch.device, *, stacked: bool) -> ModelCard:
    """Return the card of a training before it is done: without its time and its files."""
    return ModelCard(
        spec=training.spec,
        image_shape=data.image_shape,
        data=data.name,
        data_fingerprint=data.fingerprint,
        recipe=training.recipe,
        seed=training.seed,
        train_seconds=0.0,
        address=address(training, data, device, stacked=stacked),
    )


ASKED_FOR = ("spec", "recipe", "seed", "data_fingerprint", "image_shape", "address")
"""The fields of a card that must equal the request."""


def _folder(card: ModelCard) -> Path:
    return cache_root() / "checkpoints" / card.address


def _cached(asked: ModelCard, device: torch.device, note: Note) -> Checkpoint | None:
    """Return the cached model; None, with a note, if it was changed or is of another training."""
    folder = _folder(asked)
    if not checkpoint.exists(folder):
        return None
    try:
        cached = checkpoint.load(folder)
        if wrong := [name for name in ASKED_FOR if getattr(cached.card, name) != getattr(asked, name)]:
            raise LatentbenchError(f"{folder / checkpoint.CARD}: of another training: {wrong[0]} differs")
    except LatentbenchError as error:
        note(f"{error}; {asked.spec.label} (seed {asked.seed}) is trained again")
        return None
    cached.model.to(device)
    return cached


def untrained(training: Training, data: ImageData, device: torch.device) -> Family[Any]:
    """Build the model with the initial weights of its seed, which do not depend on other trainings."""
    spec = training.spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(training.seed, "initial weights", spec.model_dump_json(exclude_none=True)))
        model = find_family(spec.family).build(spec, data.image_shape)
    return model.to(device)


def _kept(
    model: Family[Any], history: History, card: ModelCard, seconds: float, stacked: int = 0
) -> Checkpoint:
    """Write the trained model to its folder and return it as a checkpoint."""
    card = card.model_copy(update={"train_seconds": seconds, "stacked": stacked})
    return checkpoint.save(_folder(card), Checkpoint(model.eval(), card, history))
