"""The source of a model of diffusers, a folder or the Hugging Face hub: its config and its weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from latentbench.data.errors import LatentbenchError, missing_package
from latentbench.data.hub import cache_unless_reachable, hub_host, is_reachable
from latentbench.models.external import state_dicts
from latentbench.models.resolver import Resolver

Name = Annotated[str, Field(min_length=1)]
Json = dict[str, JsonValue]
EXAMPLES = "AutoencoderKL, AutoencoderTiny, AutoencoderDC or VQModel"
SHOWN = 3
FACTORS = ("scaling_factor", "shift_factor")
"""Numbers in a config.json that a diffusion model scales and shifts codes by."""


class DiffusersSource(BaseModel):
    """The place of a model of diffusers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Name
    """A folder, relative to the suite's, or the name of a repository on the hub."""
    subfolder: Name | None = None
    """The folder of the autoencoder inside of a pipeline, usually `vae`."""
    revision: Name | None = None
    """A branch, tag or commit on the hub."""
    variant: Name | None = None
    """Weights with a suffix in their file name, such as `fp16`."""

    @property
    def label(self) -> str:
        """The name without its organisation, such as `sd-vae-ft-mse`."""
        return Path(self.model).name

    @property
    def options(self) -> dict[str, str]:
        """The arguments of diffusers that are given."""
        return {name: value for name, value in self if name != "model" and value is not None}


def _diffusers() -> Any:
    try:
        # Not an import statement: type checkers would read all of diffusers and transformers.
        return import_module("diffusers")
    except ImportError as error:
        needed = missing_package("family diffusers", "diffusers", "diffusers")
        raise LatentbenchError(f"{needed} ({error})") from None


def class_of(config: Json, where: str) -> Any:
    """Return the class that a config.json names. Raises LatentbenchError if it is no autoencoder."""
    diffusers, name = _diffusers(), config.get("_class_name")
    try:
        found = getattr(diffusers, str(name), None)
    except (ImportError, RuntimeError) as error:  # a class whose own dependencies are missing
        raise LatentbenchError(f"{where}: {name} cannot be imported: {_line(error)}") from None
    is_model = isinstance(found, type) and issubclass(found, diffusers.ModelMixin)
    if not (is_model and hasattr(found, "encode") and hasattr(found, "decode")):
        raise LatentbenchError(
            f"{where}: config.json names the class {name!r}, which is no autoencoder of diffusers "
            f"{diffusers.__version__}; allowed: {EXAMPLES}, or another with encode and decode"
        )
    return found


def location_of(source: DiffusersSource, resolver: Resolver) -> str:
    """Return the folder of a model, or its name on the hub."""
    folder = resolver.path(source.model)
    if folder.is_dir():
        return str(folder)
    if source.model.count("/") != 1 or source.model.startswith((".", "/", "~")):
        raise LatentbenchError(
            f"pretrained {source.model}: no such folder, and no name on the hub (ORGANISATION/REPOSITORY)"
        )
    return source.model


def read_config(source: DiffusersSource, location: str) -> Json:
    """Read config.json. Raises LatentbenchError if there is none, or the hub cannot be reached."""
    folder = Path(location) / (source.subfolder or "")
    if Path(location).is_dir() and not (folder / "config.json").is_file():
        pipeline = (folder / "model_index.json").is_file()
        raise LatentbenchError(
            f"pretrained {source.model}: no config.json in {folder}"
            + ("; it is a pipeline: add subfolder: vae" if pipeline else "")
        )
    options = {name: value for name, value in source.options.items() if name != "variant"}
    with _reported(source, location):
        config = _diffusers().AutoencoderKL.load_config(location, **options)
        if not isinstance(config, dict):
            raise LatentbenchError(f"{_file(source)} must hold a mapping, got a {type(config).__name__}")
        for name in FACTORS:
            if not isinstance(config.get(name), int | float | None):
                raise LatentbenchError(f"{_file(source)}: {name} must be a number, got {config[name]!r}")
    return {name: value for name, value in config.items() if name != "_name_or_path"}


def read_weights(
    source: DiffusersSource, config: Json, location: str, resolver: Resolver, where: str
) -> state_dicts.State:
    """Load the weights in float32; all of them must fit. Raises LatentbenchError."""
    found = class_of(config, where)
    with _reported(source, location):
        model, report = found.from_pretrained(
            location,
            output_loading_info=True,
            use_safetensors=None if resolver.allow_pickle else True,
            torch_dtype=torch.float32,
            low_cpu_mem_usage=False,
            **source.options,
        )
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := [str(name) for name in report.get(what) or ()]:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise LatentbenchError(
                f"{where}: the weights do not fit the {found.__name__} of config.json: "
                f"{what.replace('_', ' ')} {', '.join(names[:SHOWN])}{more}"
            )
    return state_dicts.storable(model.state_dict())


def _file(source: DiffusersSource) -> str:
    return f"pretrained {source.model}: {source.subfolder + '/' if source.subfolder else ''}config.json"


@contextmanager
def _reported(source: DiffusersSource, location: str) -> Iterator[None]:
    """Turn what diffusers raises into one line, and suppress its own warnings and those of the hub's client.

    Nothing waits for a hub that cannot be reached; what its cache holds is used.
    """
    logger = logging.getLogger("diffusers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    local = Path(location).is_dir()
    try:
        with warnings.catch_warnings(), nullcontext() if local else cache_unless_reachable():
            warnings.simplefilter("ignore")
            yield
    except LatentbenchError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {_line(error)}"
        if not local and isinstance(error, OSError) and not is_reachable(host := hub_host()):
            cause = (
                f"no folder of this name, not all of it is in the hub's cache, and {host} cannot be reached; "
                "download it where there is a network, and give its folder"
            )
        raise LatentbenchError(f"pretrained {source.model}: {cause}") from None
    finally:
        logger.setLevel(level)


def _line(error: BaseException) -> str:
    """Return the first sentence of a message, which may have many lines."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}…"
