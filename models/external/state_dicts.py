"""Weights that somebody else made: read without running their code, matched name by name, kept by content.

A pickle runs code when it is read, so one is refused unless it is asked for; and then torch's restricted
reader, which makes tensors and nothing else, reads it once. What is kept is always safetensors.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from latentbench.data.errors import LatentbenchError
from latentbench.data.files import write_atomically
from latentbench.models.cache import cache_root

State = dict[str, Tensor]
Kind = Literal["safetensors", "pickle", "empty", "foreign"]

NESTED = ("state_dict", "model_state_dict")
"""Where a training script's checkpoint keeps the state dict."""
LARGEST_HEADER = 100_000_000
"""Bytes of a safetensors header; its own reader takes no more."""
SHOWN = 3
HOW_TO_CONVERT = "safetensors.torch.save_model(model, 'weights.safetensors')"


@dataclass(frozen=True, eq=False)
class Weights:
    """A state dict, and the sha256 of what it was read from."""

    state: State
    sha256: str


def kind(content: bytes) -> Kind:
    """What a checkpoint file is by its first bytes, whatever it is called.

    A zip is what `torch.save` writes, around a pickle; before torch 1.6 it wrote the pickle bare.

    >>> kind(b""), kind(b"PK" + bytes([3, 4, 0, 0])), kind(b"hello, world")
    ('empty', 'pickle', 'foreign')
    """
    if not content:
        return "empty"
    if content[:4] == b"PK\x03\x04" or (content[0] == 0x80 and content[1:2] in (b"\2", b"\3", b"\4", b"\5")):
        return "pickle"
    header = int.from_bytes(content[:8], "little")
    if content[8:9] == b"{" and header <= LARGEST_HEADER:
        return "safetensors"
    return "foreign"


def read(path: Path, *, allow_pickle: bool = False) -> Weights:
    """The state dict in a checkpoint file. Raises LatentbenchError with the file's name and one reason."""
    content = _bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    match kind(content):
        case "safetensors":
            return Weights(_safetensors(content, path), digest)
        case "pickle" if allow_pickle:
            return Weights(_converted(content, digest, path), digest)
        case "pickle":
            raise LatentbenchError(
                f"checkpoint {path.name}: is a pickle, and reading a pickle can run code; save it anew with "
                f"{HOW_TO_CONVERT}, or, if you trust where it is from, add --allow-pickle"
            )
        case "empty":
            raise LatentbenchError(f"checkpoint {path.name}: is empty")
        case _:
            raise LatentbenchError(
                f"checkpoint {path.name}: is neither safetensors nor what torch.save writes (it begins with "
                f"{content[:8]!r}); write it with {HOW_TO_CONVERT}"
            )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise LatentbenchError(f"checkpoint {path.name}: no such file in {path.parent}") from None
    except OSError as error:
        raise LatentbenchError(f"checkpoint {path.name}: cannot be read: {error.strerror}") from None


def _safetensors(content: bytes, path: Path) -> State:
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise LatentbenchError(
            f"checkpoint {path.name}: truncated or damaged safetensors ({_line(error)})"
        ) from None


def _converted(content: bytes, digest: str, path: Path) -> State:
    """The tensors of a pickle, from their safetensors where it was converted before."""
    try:
        return load_kept(digest)
    except LatentbenchError:
        state = _unpickled(content, path)
    keep(state, digest)
    return state


def _unpickled(content: bytes, path: Path) -> State:
    try:
        with warnings.catch_warnings(action="ignore"):
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise LatentbenchError(
            f"checkpoint {path.name}: holds more than tensors, which --allow-pickle does not read either "
            f"({_cause(error)}); save model.state_dict() alone"
        ) from None
    except Exception as error:
        # A damaged archive fails wherever the damage is, each place with an exception of its own.
        raise LatentbenchError(
            f"checkpoint {path.name}: truncated or damaged, or not written by torch.save ({_cause(error)})"
        ) from None
    return _state_dict(loaded, path)


def _state_dict(loaded: Any, path: Path) -> State:
    """The state dict that was saved, bare or in a training script's checkpoint."""
    nested = [loaded[key] for key in NESTED if isinstance(loaded, Mapping) and key in loaded]
    state = nested[0] if nested else loaded
    if not isinstance(state, Mapping):
        raise LatentbenchError(
            f"checkpoint {path.name}: holds a {type(state).__name__}, expected a state dict"
        )
    others = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if others or not state:
        what = f"what is no tensor under {_some(others)}" if others else "nothing"
        where = " or ".join(repr(key) for key in NESTED)
        raise LatentbenchError(
            f"checkpoint {path.name}: holds {what}; expected a state dict, bare or under {where}"
        )
    return {str(name): tensor for name, tensor in state.items()}


def apply(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load `state` into `module`, every name and shape of which must fit.

    Of tensors that share their memory (tied weights) one is enough: `safetensors.torch.save_model` keeps
    no more. Raises LatentbenchError, beginning with `where`, with the first names that do not fit.
    """
    expected = module.state_dict()
    given = {_place(expected[name]) for name in state if name in expected}
    missing = [name for name in expected if name not in state and _place(expected[name]) not in given]
    unexpected = sorted(name for name in state if name not in expected)
    problems = [
        f"{what} {_some(names)}" for what, names in (("lacks", missing), ("has also", unexpected)) if names
    ]
    if problems:
        raise LatentbenchError(f"{where}: does not fit the model: {' and '.join(problems)}")
    for name, tensor in expected.items():
        if name in state and state[name].shape != tensor.shape:
            raise LatentbenchError(
                f"{where}: {name} is {list(state[name].shape)}, the model's is {list(tensor.shape)}"
            )
    module.load_state_dict(state, strict=False)


def storable(state: Mapping[str, Tensor]) -> State:
    """A state dict as safetensors takes it: on the CPU, contiguous, no two tensors in the same memory.

    Raises LatentbenchError for what is no dense tensor, such as a module's extra state.
    """
    taken: set[int] = set()
    result = {}
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or is_lazy(tensor):
            raise LatentbenchError(f"{name!r} of the state dict is no dense tensor, and cannot be kept")
        tensor = tensor.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if memory in taken else tensor
        taken.add(memory)
    return result


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """sha256 of a state dict's names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(storable(state).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def kept_at(sha256: str) -> Path:
    """Where weights that were handed in are kept, by the sha256 of what they were read from."""
    return cache_root() / "imported" / f"{sha256}.safetensors"


def keep(state: Mapping[str, Tensor], sha256: str) -> None:
    """Keep a state dict as safetensors."""
    path = kept_at(sha256)
    write_atomically(path, safetensors.torch.save(storable(state)))


def load_kept(sha256: str) -> State:
    """The state dict kept under a sha256. Raises LatentbenchError where there is none, or a damaged one."""
    path = kept_at(sha256)
    return _safetensors(_bytes(path), path)


def _place(tensor: Tensor) -> object:
    """What tensors have in common that are one and the same; an empty one is like no other."""
    return (tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride(), tensor.dtype)


def _some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more


def _cause(error: Exception) -> str:
    """The reason alone out of torch's long advice, which is to trust the file."""
    reason = _line(error).rpartition("WeightsUnpickler error: ")[2]
    return f"{type(error).__name__}: {re.split(r'[.] | Check the doc| was not an allowed', reason)[0]}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
