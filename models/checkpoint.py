"""Checkpoints: weights in safetensors, and a JSON file next to them that describes them.

Nothing here reads a pickle. Both files are written under a temporary name and renamed, the JSON last,
so a checkpoint that has its JSON is complete.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import nn

from latentbench.data.errors import LatentbenchError
from latentbench.models.cache import write_to_cache
from latentbench.models.external.state_dicts import storable
from latentbench.models.family import AnySpec, Family, find_family
from latentbench.models.spec import ForeignSpec
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe

WEIGHTS, HISTORY, CARD = "weights.safetensors", "history.safetensors", "model.json"


class Card(BaseModel):
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


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained model with its card and its history, and the folder of its files, if any."""

    model: Family[Any]
    card: Card
    history: History
    folder: Path | None = None


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint into `folder`, which is created if it does not exist."""
    write_to_cache(folder / WEIGHTS, safetensors.torch.save(storable(checkpoint.model.state_dict())))
    write_to_cache(folder / HISTORY, safetensors.numpy.save(checkpoint.history.arrays()))
    write_to_cache(folder / CARD, checkpoint.card.model_dump_json(indent=2).encode())


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint; raises LatentbenchError naming the file that is missing, truncated or foreign."""
    card = _read_card(folder / CARD)
    if isinstance(card.spec, ForeignSpec):
        raise LatentbenchError(f"{folder / CARD}: {card.spec.label} has an unknown family or setting")
    model = find_family(card.spec.family).build(card.spec, card.image_shape)
    _load_weights(model, folder / WEIGHTS)
    model.eval()
    return Checkpoint(model, card, History.of_arrays(_read_arrays(folder / HISTORY)), folder)


def weights_sha256(folder: Path) -> str | None:
    """Return the sha256 of a checkpoint's weights, equal for equal weights; None if there are none."""
    try:
        return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    except OSError:
        return None


def exists(folder: Path) -> bool:
    """Return True if `folder` contains a complete checkpoint."""
    return (folder / CARD).is_file()


def _read_card(path: Path) -> Card:
    try:
        return Card.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise LatentbenchError(
            f"{path}: no such checkpoint; a checkpoint folder holds {CARD} and {WEIGHTS}"
        ) from None
    except (ValidationError, json.JSONDecodeError) as error:
        raise LatentbenchError(f"{path}: not a latentbench checkpoint card: {_first_line(error)}") from None


def _load_weights(model: nn.Module, path: Path) -> None:
    expected = model.state_dict()
    try:
        state = safetensors.torch.load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise LatentbenchError(
            f"{path}: unreadable weights ({_first_line(error)}); delete the folder to train again"
        ) from None
    wrong = sorted(set(expected) ^ set(state)) + [
        name for name in expected if name in state and expected[name].shape != state[name].shape
    ]
    if wrong:
        raise LatentbenchError(
            f"{path}: weights of another model: {wrong[0]!r} does not fit its {CARD}; "
            "delete the folder to train again"
        )
    model.load_state_dict(state)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise LatentbenchError(f"{path}: unreadable history ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
