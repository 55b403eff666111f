"""Checkpoints: weights in safetensors, and a JSON file next to them that describes them.

Nothing here reads a pickle. Every file is written under a temporary name and renamed, the JSON last, so a
checkpoint that has its JSON is complete. The JSON states the sha256 of the other files and of itself, so a
file that was changed or swapped later is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json
from safetensors import SafetensorError
from torch import nn

from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.cache import CHANGED, digest_of, write_to_cache
from latentbench.data.storage.files import file_sha256
from latentbench.models.external.state_dicts import storable
from latentbench.models.family import AnySpec, Family, find_family
from latentbench.models.spec import ForeignSpec
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe

WEIGHTS, HISTORY, CARD = "weights.safetensors", "history.safetensors", "model.json"
FILES = (WEIGHTS, HISTORY, CARD)


class ModelCard(BaseModel):
    """The description of a checkpoint: enough to build the model and to train it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: AnySpec
    image_shape: tuple[int, int, int]
    data: str
    data_fingerprint: str
    recipe: Recipe
    seed: int
    train_seconds: float
    """The model's share of the time if several were trained as one stack."""
    stacked: int = 0
    """The number of members of the stack that it was trained in; 0 if it was trained alone."""
    address: str
    """A hash of everything that determines the weights: the above, the code, the device and torch."""
    files: dict[str, str] = {}
    """The sha256 of each other file of the checkpoint, by name."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained model with its card and its history, and the folder of its files, if any."""

    model: Family[Any]
    card: ModelCard
    history: History
    folder: Path | None = None


def save(folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Write a checkpoint into `folder`, which is made if there is none; returns it as it lies there."""
    files = {
        WEIGHTS: safetensors.torch.save(storable(checkpoint.model.state_dict())),
        HISTORY: safetensors.numpy.save(checkpoint.history.arrays()),
    }
    for name, content in files.items():
        write_to_cache(folder / name, content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    card = checkpoint.card.model_copy(update={"files": digests})
    write_to_cache(folder / CARD, _sealed(card))
    return replace(checkpoint, card=card, folder=folder)


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint; raises LatentbenchError naming the file that is missing, changed or foreign."""
    card = read_card(folder)
    _verify(folder, card)
    if isinstance(card.spec, ForeignSpec):
        raise LatentbenchError(f"{folder / CARD}: {card.spec.label} has an unknown family or setting")
    model = find_family(card.spec.family).build(card.spec, card.image_shape)
    _load_weights(model, folder / WEIGHTS)
    model.eval()
    return Checkpoint(model, card, History.of_arrays(_read_arrays(folder / HISTORY)), folder)


def exists(folder: Path) -> bool:
    """Return True if `folder` contains a complete checkpoint."""
    return (folder / CARD).is_file()


def is_whole(folder: Path) -> bool:
    """Return True if `folder` contains a checkpoint and none of its files was changed."""
    try:
        _verify(folder, read_card(folder))
    except LatentbenchError:
        return False
    return True


def read_card(folder: Path) -> ModelCard:
    """Read the card of the checkpoint in `folder`. Raises LatentbenchError."""
    path = folder / CARD
    try:
        content = from_json(path.read_bytes())
        card, digest = content["card"], content["digest"]
        if digest != digest_of(card):
            raise LatentbenchError(f"{path}: {CHANGED}")
        return ModelCard.model_validate_json(json.dumps(card))
    except FileNotFoundError:
        raise LatentbenchError(
            f"{path}: no such checkpoint; a checkpoint folder holds {CARD} and {WEIGHTS}"
        ) from None
    except (ValidationError, ValueError, TypeError, KeyError) as error:
        raise LatentbenchError(f"{path}: not a latentbench checkpoint card: {_first_line(error)}") from None


def _sealed(card: ModelCard) -> bytes:
    """Return a card as JSON, with its own digest."""
    content = card.model_dump(mode="json")
    return json.dumps({"card": content, "digest": digest_of(content)}, indent=2).encode()


def _verify(folder: Path, card: ModelCard) -> None:
    """Raise LatentbenchError for a file that is missing, or is not the one that the card states."""
    for path in (folder / WEIGHTS, folder / HISTORY):
        try:
            found = file_sha256(path)
        except OSError as error:
            raise LatentbenchError(f"{path}: cannot be read: {error.strerror}") from None
        if found != card.files.get(path.name):
            raise LatentbenchError(f"{path}: {CHANGED}")


def _load_weights(model: nn.Module, path: Path) -> None:
    expected = model.state_dict()
    try:
        state = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise LatentbenchError(f"{path}: unreadable weights ({_first_line(error)})") from None
    wrong = sorted(set(expected) ^ set(state)) + [
        name for name in expected if name in state and expected[name].shape != state[name].shape
    ]
    if wrong:
        raise LatentbenchError(f"{path}: weights of another model: {wrong[0]!r} does not fit its {CARD}")
    model.load_state_dict(state)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except SafetensorError as error:
        raise LatentbenchError(f"{path}: unreadable history ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
