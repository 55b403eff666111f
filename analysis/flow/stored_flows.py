"""Flows in the cache: one sealed file each, under a hash of everything that determines the weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from latentbench.analysis.flow.recipe import FlowRecipe
from latentbench.analysis.flow.train_flow import Flow, Scales, TrainedFlow, train_flow, untrained
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.cache import cache_root, read_sealed, write_sealed
from latentbench.models.external.state_dicts import fingerprint, storable
from latentbench.models.protocols import Posterior
from latentbench.models.source_code.hashes import package_code, training_code

CODE = "latentbench.analysis.flow"
NETWORK = "network."
"""How the names of the network's weights begin in a file."""


def address(codes: Posterior, recipe: FlowRecipe, seed: int, device: torch.device) -> str:
    """Return the content address of a flow: equal codes, recipe, seed, code and torch give an equal hash.

    Devices that train in another precision have other addresses.
    """
    tensors = {"mean": codes.mean, **({} if codes.log_var is None else {"log_var": codes.log_var})}
    content = {
        "code": [training_code(), package_code(CODE)],
        "codes": fingerprint(tensors),
        "recipe": recipe.model_dump(),
        "seed": seed,
        "device": device.type,
        "precision": recipe.training_on(device).precision,
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def flow_of(codes: Posterior, recipe: FlowRecipe, *, seed: int, device: torch.device) -> TrainedFlow:
    """Return the flow of codes from the cache, or train it and keep it there.

    A file that was changed is ignored, and the flow is trained again. Raises as `train_flow` does.
    """
    name = address(codes, recipe, seed, device)
    path = cache_root() / "flows" / f"{name}.sealed"
    if (cached := _cached(path, tuple(codes.mean.shape[1:]), recipe, device)) is not None:
        return cached
    trained = train_flow(codes, recipe, seed=seed, device=device)
    write_sealed(path, _content(trained, name))
    return trained


def _content(trained: TrainedFlow, name: str) -> bytes:
    flow = trained.flow
    tensors = {f"{NETWORK}{key}": value for key, value in flow.network.state_dict().items()} | {
        "mean": flow.scales.mean,
        "deviation": flow.scales.deviation,
        "losses": trained.losses,
        "seconds": torch.tensor(trained.seconds, dtype=torch.float64),
        "address": _digits(name),
    }
    return safetensors.torch.save(storable(tensors))


def _digits(name: str) -> torch.Tensor:
    """The address as bytes: a file that was renamed is not taken for another flow."""
    return torch.tensor(list(bytes.fromhex(name)), dtype=torch.uint8)


def _cached(
    path: Path, shape: tuple[int, ...], recipe: FlowRecipe, device: torch.device
) -> TrainedFlow | None:
    if not path.exists():
        return None
    try:
        tensors = safetensors.torch.load(read_sealed(path))
        if not torch.equal(tensors["address"], _digits(path.stem)):
            return None
        network = untrained(shape, recipe).network
        network.load_state_dict(
            {key.removeprefix(NETWORK): value for key, value in tensors.items() if key.startswith(NETWORK)}
        )
    except (LatentbenchError, SafetensorError, KeyError, RuntimeError):
        return None
    network = network.eval().requires_grad_(False).to(device)
    scales = Scales(tensors["mean"], tensors["deviation"])
    return TrainedFlow(Flow(network, scales, shape, recipe), tensors["losses"], tensors["seconds"].item())
