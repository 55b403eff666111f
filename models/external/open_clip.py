"""An image–text model that somebody else trained, of any architecture that open_clip has; never trained here.

open_clip gives random weights where it finds none, with only a warning. Here a model has the weights that
were asked for, or there is an error that says how to come by them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.registry import unknown
from latentbench.data.sources.class_names import prompts_of
from latentbench.data.sources.zero_shot_folder import templates_of
from latentbench.models.external import state_dicts
from latentbench.models.external.base import LoadedFamily, LoadedSpec, stated
from latentbench.models.family import FAMILIES, Display
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.resolver import Resolver
from latentbench.models.spec import ModelSpec

TEXT_BATCH = 256
OPENAI = "openai"
"""The tag whose models have QuickGELU, whatever the architecture's name says."""
DEFAULT_CONTEXT = 77

Name = Annotated[str, Field(min_length=1)]


class Source(BaseModel):
    """Which weights, in which architecture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Name
    """One of open_clip's names, or a JSON file with an architecture of the same form."""
    tag: Name | None = None
    """One of open_clip's tags; its weights are downloaded unless a checkpoint is given."""
    checkpoint: Name | None = None
    """A file of weights, by its path from the suite's folder."""


class PretrainedSpec(LoadedSpec):
    """Settings of a pretrained image–text model; what is not in a suite is filled in once it is found."""

    pretrained: Source
    precision: Literal["fp32", "bf16"] = "fp32"
    architecture: dict[str, JsonValue] | None = None
    """open_clip's configuration of the towers."""
    preprocessing: dict[str, JsonValue] | None = None
    """Size, mean, standard deviation and resampling of the images."""

    @property
    def label(self) -> str:
        """Architecture and origin, such as `ViT-B-32 laion2b_s34b_b79k`."""
        origin = self.pretrained.tag or Path(self.pretrained.checkpoint or "").stem
        precision = "" if self.precision == "fp32" else f" {self.precision}"
        return f"{Path(self.pretrained.model).stem} {origin}{precision}"

    @property
    def series(self) -> str:
        """The label: no other width of it is to be had."""
        return self.label


@FAMILIES.register("pretrained")
class Pretrained(LoadedFamily[PretrainedSpec]):
    """One of open_clip's models, `pretrained: {model: ViT-B-32, tag: …, checkpoint: …}`, measured as it is.

    Images are brought to the model's own size and scale, grey ones repeated to RGB.
    """

    Spec: ClassVar[type[ModelSpec]] = PretrainedSpec
    paper: ClassVar[str] = "Ilharco et al. 2021, doi:10.5281/zenodo.5143773"
    display: ClassVar[Display] = Display(140, "#1f2328", "D")

    def __init__(self, spec: PretrainedSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        architecture: Mapping[str, Any] = spec.architecture or _architecture(spec.pretrained, Path())
        self.towers: Any = _towers(architecture)
        self.tokenizer: Any = None
        self.context = int(architecture["text_cfg"].get("context_length", DEFAULT_CONTEXT))
        self.preprocessing: Mapping[str, Any] = spec.preprocessing or {}

    @override
    @classmethod
    def resolve(cls, spec: PretrainedSpec, data: ImageData, resolver: Resolver) -> PretrainedSpec:
        """The spec with architecture, preprocessing, width and the weights' digest, after a trial."""
        source = spec.pretrained
        if source.tag is None and source.checkpoint is None:
            known = ", ".join(_tags(source.model)) or "none is known"
            raise LatentbenchError(
                f"pretrained {source.model}: names neither tag nor checkpoint, and random weights would "
                f"measure nothing; add checkpoint: FILE, or a tag: {known}"
            )
        architecture = _architecture(source, resolver.folder)
        filled: PretrainedSpec = spec.model_copy(
            update={"architecture": architecture, "preprocessing": _preprocessing(source, architecture)}
        )
        found = _weights(source, resolver.folder, allow_pickle=resolver.allow_pickle)
        model = cls.build(filled, data.image_shape).eval()
        where = f"{filled.label}: {source.checkpoint or f'tag {source.tag}'}"
        try:
            state_dicts.apply(model.towers, found.state, where)
        except LatentbenchError as error:
            raise LatentbenchError(
                f"{error} (model: {source.model} must be the architecture that the weights are of)"
            ) from None
        state_dicts.keep(found.state, found.sha256)
        with torch.inference_mode():
            width = model.encode_image(data.test.images[:1].float() / 255).shape[1]
            if data.classes:
                texts = prompts_of(data.classes, templates_of(data))
                model.encode_text([text for row in texts for text in row])
        return stated(filled, filled.label, width=width, sha256=found.sha256)

    @property
    def holder(self) -> nn.Module:
        """Both towers."""
        towers: nn.Module = self.towers
        return towers

    @property
    def where(self) -> str:
        """The model's label."""
        return self.spec.label

    def encode_image(self, x: Tensor) -> Tensor:
        """Images in [0, 1] `[B, C, H, W]` to unit vectors `[B, D]`."""
        with self._precision(x.device):
            embedding: Tensor = self.towers.encode_image(self.preprocessed(x), normalize=True)
        return embedding.float()

    def preprocessed(self, x: Tensor) -> Tensor:
        """Images in [0, 1] `[B, C, H, W]` as the model takes them; left at their size where it is right."""
        size, channels = _side(self.preprocessing["size"]), x.shape[1]
        if x.shape[-1] != size:
            mode = str(self.preprocessing.get("interpolation", "bicubic"))
            x = F.interpolate(x, (size, size), mode=mode, antialias=True, align_corners=False).clamp(0, 1)
        rgb = x.expand(-1, 3, -1, -1) if channels == 1 else x
        mean, deviation = (
            torch.tensor(self.preprocessing[name], device=x.device).view(1, 3, 1, 1)
            for name in ("mean", "std")
        )
        return (rgb - mean) / deviation

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Captions to unit vectors `[B, D]`, 256 at a time.

        Raises LatentbenchError for a caption longer than the context, which would lose its end.
        """
        device = next(self.parameters()).device
        tokens = self._tokens(list(captions)).to(device)
        with self._precision(device):
            parts = [self._encode_tokens(part).float() for part in tokens.split(TEXT_BATCH)]
        return torch.cat(parts)

    def _encode_tokens(self, tokens: Tensor) -> Tensor:
        """Token ids `[N, context]` to unit vectors `[N, D]`.

        Under a causal mask the end of a text does not see the padding behind it, and its vector is taken
        there: so the padding that all of them have is left out, which is most of the work.
        """
        mask = getattr(self.towers, "attn_mask", None)
        if mask is None or getattr(self.towers, "text_pool_type", None) != "argmax":
            embedding: Tensor = self.towers.encode_text(tokens, normalize=True)
            return embedding
        length = int(tokens.argmax(1).max()) + 1
        shorter = {
            "positional_embedding": self.towers.positional_embedding[:length],
            "attn_mask": mask[:length, :length],
        }
        outputs = functional_call(self.towers, shorter, (None, tokens[:, :length]))
        vectors: Tensor = outputs["text_features"] if isinstance(outputs, dict) else outputs[1]
        return vectors

    def _tokens(self, captions: list[str]) -> Tensor:
        """Token ids `[N, context]`, after seeing that no caption has more than fit."""
        if self.tokenizer is None:
            self.tokenizer = _tokenizer(self.spec.pretrained, self.context)
        # With room to spare, a caption that is too long goes on where there should be padding alone.
        roomy: Tensor = self.tokenizer(captions, context_length=2 * self.context)
        rest = roomy[:, self.context :]
        too_long = (rest != rest[:, -1:]).any(1)
        for caption in itertools.compress(captions, too_long.tolist()):
            raise LatentbenchError(
                f"caption {caption[:60]!r} is longer than the {self.context} tokens of {self.spec.label}; "
                f"shorten it or its template"
            )
        return roomy[:, : self.context]

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by."""
        scale: Tensor = self.towers.logit_scale.exp()
        return scale

    def _precision(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.spec.precision == "bf16")


def _side(size: Any) -> int:
    """The side of the model's images, which open_clip gives as a number or a pair of equal ones."""
    return int(size[0] if isinstance(size, Sequence) else size)


def _tags(model: str) -> list[str]:
    import open_clip

    tags: list[str] = open_clip.list_pretrained_tags_by_model(model)
    return tags


def _architecture(source: Source, folder: Path) -> dict[str, Any]:
    """open_clip's configuration of the architecture, as plain JSON. Raises LatentbenchError."""
    import open_clip

    if source.model.endswith(".json"):
        path = folder / Path(source.model).expanduser()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LatentbenchError(f"pretrained {path}: no readable JSON architecture ({error})") from None
        content = content.get("model_cfg", content) if isinstance(content, dict) else content
        if not isinstance(content, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= content.keys():
            raise LatentbenchError(
                f"pretrained {path}: not an open_clip architecture, which has embed_dim, "
                f"vision_cfg and text_cfg"
            )
    else:
        if source.model not in open_clip.list_models():
            raise unknown("open_clip model", source.model, open_clip.list_models())
        content = open_clip.get_model_config(source.model)
    if source.tag == OPENAI:
        content = {**content, "quick_gelu": True}
    architecture: dict[str, Any] = json.loads(json.dumps(content))
    return architecture


def _preprocessing(source: Source, architecture: Mapping[str, Any]) -> dict[str, Any]:
    """What the images go through: the tag's own where there is one, open_clip's usual otherwise."""
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    tagged = open_clip.get_pretrained_cfg(source.model, source.tag) if source.tag else {}
    return {
        "size": _side(architecture["vision_cfg"].get("image_size", 224)),
        "mean": list(tagged.get("mean") or OPENAI_DATASET_MEAN),
        "std": list(tagged.get("std") or OPENAI_DATASET_STD),
        "interpolation": tagged.get("interpolation") or "bicubic",
    }


def _towers(architecture: Mapping[str, Any]) -> nn.Module:
    """An untrained model of an architecture, by open_clip's own classes; nothing is downloaded."""
    import open_clip

    config = deepcopy(dict(architecture))
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in config["text_cfg"]:
        config["text_cfg"]["hf_model_pretrained"] = False
    custom = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    if "multimodal_cfg" in config:
        kind: Any = open_clip.CoCa
    else:
        kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    try:
        module: nn.Module = kind(**config)
    except Exception as error:
        # The file is the user's, and open_clip checks little of it.
        raise LatentbenchError(f"architecture cannot be built by open_clip: {_line(error)}") from None
    return module


def _weights(source: Source, folder: Path, *, allow_pickle: bool) -> state_dicts.Weights:
    """The state dict of the checkpoint, or of the tag where there is none. Raises LatentbenchError."""
    if source.checkpoint is not None:
        found = state_dicts.read(folder / Path(source.checkpoint).expanduser(), allow_pickle=allow_pickle)
        # As a model wrapped for training on several devices is saved.
        state = {name.removeprefix("module."): tensor for name, tensor in found.state.items()}
        return state_dicts.Weights(state, found.sha256)
    import open_clip

    known = _tags(source.model)
    if source.tag not in known:
        raise LatentbenchError(f"pretrained {source.model}: {unknown('tag', source.tag, known)}")
    try:
        model = open_clip.create_model(
            source.model,
            pretrained=source.tag,
            require_pretrained=True,
            force_quick_gelu=source.tag == OPENAI,
        )
    except Exception as error:
        # Whatever the download, the disk or the file's format raise.
        raise LatentbenchError(
            f"pretrained {source.model}, tag {source.tag}: its weights could not be had "
            f"({_line(error)}); connect to the network once, set HF_HOME to a folder that has them, or name "
            f"a local file with checkpoint:"
        ) from None
    state = state_dicts.storable(model.state_dict())
    return state_dicts.Weights(state, state_dicts.fingerprint(state))


def _tokenizer(source: Source, context: int) -> Any:
    """open_clip's tokenizer of the architecture. Raises LatentbenchError where it cannot be downloaded."""
    import open_clip

    name = "" if source.model.endswith(".json") else source.model
    try:
        return open_clip.get_tokenizer(name, context_length=context)
    except Exception as error:
        raise LatentbenchError(
            f"pretrained {source.model}: its tokenizer could not be had ({_line(error)}); connect to the "
            f"network once, or set HF_HOME to a folder that has it"
        ) from None


def _line(error: Exception) -> str:
    """What somebody else's code said, in one line that is not too long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
