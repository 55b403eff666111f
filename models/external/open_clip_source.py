"""The source of a trained image–text model: its architecture, preprocessing and weights, by open_clip.

open_clip uses random weights if it finds none, with only a warning. Here a model gets the requested
weights, or there is an error that tells how to obtain them.
"""

from __future__ import annotations

import itertools
import json
import logging
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from latentbench.data.errors import LatentbenchError
from latentbench.data.hub import cache_unless_reachable
from latentbench.data.reading.transform import of_bounded_length
from latentbench.data.registry import unknown
from latentbench.models.resolver import Resolver

if TYPE_CHECKING:  # a command that only needs the name of a model must start without torch
    from torch import nn

    from latentbench.models.external import state_dicts

LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIG = "open_clip_config.json"

Name = Annotated[str, Field(min_length=1)]
Json = dict[str, Any]


class OpenClipSource(BaseModel):
    """An architecture and the weights for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Name
    """A name of open_clip's, a JSON file in the form of open_clip_config.json, `local-dir:FOLDER` or
    `hf-hub:ORGANISATION/REPOSITORY`; the last two include their weights."""
    tag: Name | None = None
    """A tag of open_clip's; its weights are downloaded unless a checkpoint is given."""
    checkpoint: Name | None = None
    """A file of weights, relative to the suite's folder."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.brings_weights and (self.tag or self.checkpoint):
            raise ValueError(f"tag and checkpoint have no effect: {self.model} includes its own weights")
        return self

    @property
    def brings_weights(self) -> bool:
        """True if the model's location contains the weights too."""
        return self.model.startswith((LOCAL, HUB))

    @property
    def label(self) -> str:
        """Architecture and origin, such as `ViT-B-32 laion2b_s34b_b79k`."""
        if self.brings_weights:
            return Path(self.model.partition(":")[2]).name
        return f"{Path(self.model).stem} {self.tag or Path(self.checkpoint or '').stem}"


@dataclass(frozen=True, eq=False)
class Loaded:
    """The contents of a source."""

    config: Json
    """The content of an open_clip_config.json: `model_cfg` and `preprocess_cfg`."""
    weights: state_dicts.Weights


@dataclass(frozen=True)
class OpenClipTransform:
    """open_clip's transform of an image by a `preprocess_cfg`, up to 8-bit pixels in RGB."""

    preprocessing: Mapping[str, Any]
    shape: tuple[int, int]

    def __call__(self, image: Image.Image) -> Image.Image:
        """Scale, crop or pad an image."""
        if self.preprocessing.get("resize_mode", "shortest") == "shortest":
            image = of_bounded_length(image, self.shape)
        for step in _steps(json.dumps(dict(self.preprocessing), sort_keys=True)):
            image = step(image)
        return image


@cache
def _steps(preprocessing: str) -> list[Any]:
    """Return the steps of open_clip's transform that come before the pixels become a tensor."""
    from open_clip.transform import MaybeToTensor, PreprocessCfg, image_transform_v2

    whole = image_transform_v2(PreprocessCfg(**json.loads(preprocessing)), is_train=False)
    return list(itertools.takewhile(lambda step: not isinstance(step, MaybeToTensor), whole.transforms))


def load(source: OpenClipSource, resolver: Resolver) -> Loaded:
    """Find architecture, preprocessing and weights. Raises LatentbenchError."""
    import open_clip

    from latentbench.models.external import state_dicts

    if source.brings_weights or (source.tag and not source.checkpoint):
        name = location(source, resolver)
        _check_published(source, name, resolver)
        model_config = _architecture(name, source)
        with _reported(f"{_shown(source)}: its weights could not be loaded", _remedy(source), source.model):
            model = open_clip.create_model(
                name,
                pretrained=source.tag,
                require_pretrained=True,
                force_quick_gelu=model_config.get("quick_gelu", False),
            )
        state = state_dicts.storable(model.state_dict())
        weights = state_dicts.Weights(state, state_dicts.fingerprint(state))
        return Loaded(_as_json(model_config, open_clip.get_model_preprocess_cfg(model)), weights)
    if source.checkpoint is None:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(source.model)) or "none is known"
        raise LatentbenchError(
            f"pretrained {source.model}: names neither tag nor checkpoint, and random weights would measure "
            f"nothing; add checkpoint: FILE, or a tag: {known}"
        )
    config = _config(source, resolver)
    towers = build(config)
    weights = state_dicts.read(resolver.path(source.checkpoint), allow_pickle=resolver.allow_pickle)
    try:
        state_dicts.apply(towers, weights.state, f"{source.label}: {source.checkpoint}")
    except LatentbenchError as error:
        raise LatentbenchError(
            f"{error} (model: {source.model} must be the architecture that the weights are of)"
        ) from None
    return Loaded(_as_json(config["model_cfg"], open_clip.get_model_preprocess_cfg(towers)), weights)


def build(config: Mapping[str, Any]) -> nn.Module:
    """Build an untrained model from the content of an open_clip_config.json; nothing is downloaded.

    open_clip reads it from a folder, chooses the class, and attaches the preprocessing. Raises
    LatentbenchError.
    """
    import open_clip

    with tempfile.TemporaryDirectory() as folder, _quiet():
        (Path(folder) / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        try:
            module: nn.Module = open_clip.create_model(
                f"{LOCAL}{folder}", load_weights=False, pretrained_text=False
            )
        except Exception as error:
            # The file is the user's, and open_clip checks little of it.
            raise LatentbenchError(f"architecture cannot be built by open_clip: {line(error)}") from None
    return module


def location(source: OpenClipSource, resolver: Resolver) -> str:
    """Return the model's name for open_clip, with a folder as an absolute path."""
    if source.model.startswith(LOCAL):
        return f"{LOCAL}{resolver.path(source.model.removeprefix(LOCAL)).resolve()}"
    return source.model


def tokenizer(name: str, config: Mapping[str, Any], context: int) -> Any:
    """Return open_clip's tokenizer. Raises LatentbenchError if it cannot be downloaded or has no folder."""
    import open_clip

    text, folder = config["text_cfg"], name.startswith(LOCAL)
    wanted = text.get("hf_tokenizer_name") or name
    has_files = folder and wanted != name  # only tokenizers of Hugging Face have any
    if has_files and not Path(name.removeprefix(LOCAL)).is_dir():
        raise LatentbenchError(
            f"pretrained {name}: node {platform.node()} does not have this folder with its tokenizer; "
            f"copy it to the same path on every node"
        )
    with _reported(
        f"pretrained {name}: its tokenizer {wanted} could not be loaded",
        f"connect to the network once, set HF_HOME to a folder that has it, or write hf_tokenizer_name: "
        f"FOLDER, with a tokenizer saved by save_pretrained, into text_cfg of {CONFIG}",
    ):
        if has_files or not (folder or name.endswith(".json")):
            return open_clip.get_tokenizer(name, context_length=context)
        settings = {"context_length": context, **text.get("tokenizer_kwargs", {})}
        if text.get("hf_tokenizer_name"):
            mode = text.get("tokenizer_mode")
            return open_clip.HFTokenizer(text["hf_tokenizer_name"], tokenizer_mode=mode, **settings)
        return open_clip.SimpleTokenizer(**settings)


def _check_published(source: OpenClipSource, name: str, resolver: Resolver) -> None:
    """Find mistakes before anything is downloaded."""
    if source.model.startswith(LOCAL):
        folder = Path(name.removeprefix(LOCAL))
        if not (folder / CONFIG).is_file():
            raise LatentbenchError(f"pretrained {source.model}: no {CONFIG} in {folder}")
        if not resolver.allow_pickle and not list(folder.glob("*.safetensors")):
            raise LatentbenchError(
                f"pretrained {source.model}: no *.safetensors in {folder}; other weights are pickles, which "
                f"can run code: if you trust their origin, add --allow-pickle"
            )
    elif not source.brings_weights:
        check_known(source)


def check_known(source: OpenClipSource) -> None:
    """Raise LatentbenchError unless open_clip knows the model's name, and the tag if there is one."""
    import open_clip

    if source.model not in open_clip.list_models():
        raise unknown("open_clip model", source.model, open_clip.list_models())
    known = open_clip.list_pretrained_tags_by_model(source.model)
    if source.tag and source.tag not in known:
        raise LatentbenchError(f"pretrained {source.model}: {unknown('tag', source.tag, known)}")


def _architecture(name: str, source: OpenClipSource) -> Json:
    """Return open_clip's configuration of a model; a tag's weights may need QuickGELU."""
    import open_clip

    with _reported(f"{_shown(source)}: its {CONFIG} could not be read", _remedy(source), source.model):
        config: Json = open_clip.get_model_config(name)
    tagged = open_clip.get_pretrained_cfg(name, source.tag) if source.tag else {}
    return {**config, "quick_gelu": True} if tagged.get("quick_gelu") else config


def _config(source: OpenClipSource, resolver: Resolver) -> Json:
    """Return architecture and preprocessing for a checkpoint file."""
    import open_clip

    if not source.model.endswith(".json"):
        check_known(source.model_copy(update={"tag": None}))
        tagged = open_clip.get_pretrained_cfg(source.model, source.tag) if source.tag else {}
        return {"model_cfg": _architecture(source.model, source), "preprocess_cfg": tagged}
    path = resolver.path(source.model)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LatentbenchError(f"pretrained {path}: no readable JSON architecture ({error})") from None
    config = content if isinstance(content, dict) and "model_cfg" in content else {"model_cfg": content}
    model = config["model_cfg"]
    if not isinstance(model, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= model.keys():
        raise LatentbenchError(
            f"pretrained {path}: not an open_clip architecture, which has embed_dim, vision_cfg and text_cfg"
        )
    return config


def _as_json(model: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> Json:
    """Return a configuration with lists instead of tuples, as in a record."""
    content: Json = json.loads(json.dumps({"model_cfg": model, "preprocess_cfg": preprocessing}))
    return content


def _shown(source: OpenClipSource) -> str:
    return f"pretrained {source.model}" + (f", tag {source.tag}" if source.tag else "")


def _remedy(source: OpenClipSource) -> str:
    """Return what a user can do where open_clip cannot load a source."""
    if source.model.startswith(LOCAL):
        return f"the weights in the folder must be complete, and of the architecture in its {CONFIG}"
    download = "connect to the network once, set HF_HOME to a folder that has them, or"
    if source.model.startswith(HUB):
        return f"{download} copy the repository to a folder and write model: {LOCAL}FOLDER"
    return f"{download} name a local file with checkpoint:"


@contextmanager
def _reported(problem: str, remedy: str, model: str = "") -> Iterator[None]:
    """Turn what the disk, a file or a hub that cannot be reached raise into one line with the remedy."""
    try:
        with _quiet(), nullcontext() if model.startswith(LOCAL) else cache_unless_reachable():
            yield
    except Exception as error:
        raise LatentbenchError(f"{problem} ({line(error)}); {remedy}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress open_clip's log, which warns of random weights while a model is built without any."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def line(error: Exception) -> str:
    """Return the message of a third-party error as one line of limited length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
