"""Third-party weights: read without running code, matched by name, stored by content.

Reading a pickle can run code, so pickles are refused unless they are allowed; then torch's restricted
reader, which only creates tensors, reads them once. The stored copy is always safetensors, sealed by its
sha256.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import warnings
import zipfile
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
from latentbench.data.storage.cache import cache_root, read_sealed, write_sealed

State = dict[str, Tensor]
Kind = Literal["safetensors", "pickle", "empty", "foreign"]

NESTED = ("state_dict", "model_state_dict", "model")
"""The keys under which checkpoints of training scripts and of Lightning hold the state dict."""
PREFIXES = ("module.", "model.")
"""Prefixes of names: of a model wrapped for several devices, or inside of a Lightning module."""
COMPILED = "_orig_mod."
"""The prefix that torch.compile adds to the names of a compiled module."""
DEFAULTED = ("num_batches_tracked", "position_ids", "relative_position_index")
"""Ends of the names of buffers that follow from the architecture: a checkpoint may have them or not."""
LARGEST_HEADER = 100_000_000
"""The largest header in bytes that the reader of safetensors accepts."""
LARGEST_GROWTH, SMALL = 4, 2**26
"""Tensors may take this many times the bytes of their file (tied ones are stored once), or these bytes."""
SHOWN = 3
HOW_TO_CONVERT = "safetensors.torch.save_model(model, 'weights.safetensors')"


@dataclass(frozen=True, eq=False)
class Weights:
    """A state dict, and the sha256 of the file that it was read from."""

    state: State
    sha256: str


def kind(content: bytes) -> Kind:
    """Tell the kind of a checkpoint file from its first bytes, not from its name.

    `torch.save` writes a zip around a pickle; before torch 1.6 it wrote a bare pickle.

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
    """Read the state dict in a checkpoint file. Raises LatentbenchError with its name and the reason."""
    content = _bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    match kind(content):
        case "safetensors":
            return Weights(_safetensors(content, path), digest)
        case "pickle" if allow_pickle:
            return Weights(_converted(content, digest, path), digest)
        case "pickle":
            raise LatentbenchError(
                f"checkpoint {path.name}: is a pickle, and reading a pickle can run code; save it with "
                f"{HOW_TO_CONVERT}, or, if you trust its origin, add --allow-pickle"
            )
        case "empty":
            raise LatentbenchError(f"checkpoint {path.name}: is empty")
        case _:
            raise LatentbenchError(
                f"checkpoint {path.name}: is neither safetensors nor a file of torch.save (it begins with "
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
    """Return the tensors of a pickle, from safetensors if it was converted before."""
    try:
        return load_kept(digest)
    except LatentbenchError:
        state = _unpickled(content, path)
    keep(state, digest)
    return state


def _unpickled(content: bytes, path: Path) -> State:
    try:
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                _check_size(sum(part.file_size for part in archive.infolist()), content, path)
        with warnings.catch_warnings(action="ignore"):
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except LatentbenchError:
        raise
    except pickle.UnpicklingError as error:
        raise LatentbenchError(
            f"checkpoint {path.name}: holds more than tensors, which --allow-pickle does not read either "
            f"({_cause(error)}); save model.state_dict() alone"
        ) from None
    except Exception as error:
        # The exception for a damaged archive depends on where the damage is.
        raise LatentbenchError(
            f"checkpoint {path.name}: truncated or damaged, or not written by torch.save ({_cause(error)})"
        ) from None
    state = _state_dict(loaded, path)
    _check_size(sum(tensor.numel() * tensor.element_size() for tensor in state.values()), content, path)
    return state


def _check_size(size: int, content: bytes, path: Path) -> None:
    """Refuse tensors that are far larger than their file, such as one number expanded to 2^34."""
    if size > max(LARGEST_GROWTH * len(content), SMALL):
        raise LatentbenchError(
            f"checkpoint {path.name}: its tensors take {size / 1e9:,.1f} GB and its file "
            f"{len(content) / 1e9:,.1f} GB; save them contiguous, with {HOW_TO_CONVERT}"
        )


def _state_dict(loaded: Any, path: Path) -> State:
    """Return the state dict that was saved, bare or inside of a checkpoint of a training script."""
    nested = [loaded[key] for key in NESTED if isinstance(loaded, Mapping) and key in loaded]
    state = nested[0] if nested else loaded
    if not isinstance(state, Mapping):
        raise LatentbenchError(
            f"checkpoint {path.name}: holds a {type(state).__name__}, expected a state dict"
        )
    others = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if others or not state:
        what = f"values other than tensors under {_some(others)}" if others else "nothing"
        where = " or ".join(repr(key) for key in NESTED)
        raise LatentbenchError(
            f"checkpoint {path.name}: holds {what}; expected a state dict, bare or under {where}"
        )
    return {str(name): tensor for name, tensor in state.items()}


def apply(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load `state` into `module`; every name and shape must fit, apart from prefixes and derived buffers.

    Of tensors that share their memory (tied weights) one is enough, as `safetensors.torch.save_model` stores
    them. Raises LatentbenchError, beginning with `where`, with the first names that do not fit.
    """
    expected = module.state_dict()
    state = _without_prefixes(state, expected)
    given = {_place(expected[name]) for name in state if name in expected}
    missing = [
        name
        for name in expected
        if name not in state and _place(expected[name]) not in given and not name.endswith(DEFAULTED)
    ]
    unexpected = sorted(name for name in state if name not in expected and not name.endswith(DEFAULTED))
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


def _without_prefixes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Rename tensors to the names that a model expects, if prefixes are all that differs.

    Names without the prefix are dropped: they belong to other parts, such as a Lightning module's losses.
    """
    originals = {name.replace(COMPILED, ""): name for name in expected}
    renamed = {name.replace(COMPILED, ""): tensor for name, tensor in state.items()}
    while not originals.keys() & renamed.keys():
        prefix = next((each for each in PREFIXES if any(name.startswith(each) for name in renamed)), None)
        if prefix is None:
            return state
        renamed = {n.removeprefix(prefix): t for n, t in renamed.items() if n.startswith(prefix)}
    return {originals.get(name, name): tensor for name, tensor in renamed.items()}


def storable(state: Mapping[str, Tensor]) -> State:
    """Return a state dict as safetensors needs it: on the CPU, contiguous, no two tensors in one memory.

    Raises LatentbenchError for values that are not dense tensors, such as a module's extra state.
    """
    taken: set[int] = set()
    result = {}
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or is_lazy(tensor):
            raise LatentbenchError(f"{name!r} of the state dict is no dense tensor, and cannot be stored")
        tensor = tensor.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if memory in taken else tensor
        taken.add(memory)
    return result


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(storable(state).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def kept_at(sha256: str) -> Path:
    """Return where weights are stored, by the sha256 of the file that they were read from."""
    return cache_root() / "imported" / f"{sha256}.sealed"


def keep(state: Mapping[str, Tensor], sha256: str) -> None:
    """Store a state dict as safetensors, sealed. Raises CacheError."""
    write_sealed(kept_at(sha256), safetensors.torch.save(storable(state)))


def load_kept(sha256: str) -> State:
    """Read the state dict stored under a sha256. Raises LatentbenchError if it is missing or was changed."""
    path = kept_at(sha256)
    return _safetensors(read_sealed(path), path)


def _place(tensor: Tensor) -> object:
    """Return a key that identical tensors share; an empty tensor is identical only to itself."""
    return (tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride(), tensor.dtype)


def _some(names: Iterable[str]) -> str:
    """List the first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more


def _cause(error: Exception) -> str:
    """Extract the reason from torch's message, whose advice is to trust the file."""
    reason = _line(error).rpartition("WeightsUnpickler error: ")[2]
    return f"{type(error).__name__}: {re.split(r'[.] | Check the doc| was not an allowed', reason)[0]}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
