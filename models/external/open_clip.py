"""A trained image–text model of any architecture that open_clip has; never trained here."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.reading.prompted import CompleteImageData, PairedImageData, templates_of
from latentbench.data.reading.transform import ImageTransform
from latentbench.data.request import FORMS, parse
from latentbench.data.sources.class_names import prompts_of
from latentbench.data.storage.cache import digest_of
from latentbench.models.external import open_clip_source, state_dicts
from latentbench.models.external.base import LoadedFamily, LoadedSpec, stated
from latentbench.models.external.open_clip_source import OpenClipSource
from latentbench.models.external.trial import LOW_PRECISION_TOLERANCE, TOLERANCE, Trial, trial_images
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.resolver import Resolver
from latentbench.models.spec import Display

TEXT_BATCH = 256
DEFAULT_CONTEXT = 77
TRIAL_CAPTIONS = ("a photo of a cat", "the number seven")


class PretrainedSpec(LoadedSpec):
    """Settings of a pretrained image–text model; `resolve` fills in what a suite leaves out."""

    pretrained: OpenClipSource
    precision: Literal["fp32", "bf16"] = "fp32"
    architecture: dict[str, JsonValue] | None = None
    """open_clip's configuration of the towers: `model_cfg` of an open_clip_config.json."""
    preprocessing: dict[str, JsonValue] | None = None
    """open_clip's preprocessing: `preprocess_cfg` of an open_clip_config.json, with all its fields."""
    tokenizer: str | None = None
    """The name by which open_clip finds the tokenizer, if it is not the model's name."""

    @property
    @override
    def label(self) -> str:
        """Architecture and origin, such as `ViT-B-32 laion2b_s34b_b79k`."""
        precision = "" if self.precision == "fp32" else f" {self.precision}"
        return f"{self.pretrained.label}{precision}"

    @property
    @override
    def series(self) -> str:
        """The label: the model has one width."""
        return self.label


@FAMILIES.register("pretrained")
class Pretrained(LoadedFamily[PretrainedSpec]):
    """A trained model of open_clip, `pretrained: {model: ViT-B-32, tag: …, checkpoint: …}`; never trained.

    Images get the model's own preprocessing: size, way of resizing, interpolation, mean and standard
    deviation. Images that are to be recognised by their classes' names come from their files through
    open_clip's own transform. Others are resized from the size of the data; grey ones are repeated to RGB.
    """

    Spec: ClassVar[type[PretrainedSpec]] = PretrainedSpec
    paper: ClassVar[str] = "Ilharco et al. 2021, doi:10.5281/zenodo.5143773"
    display: ClassVar[Display] = Display(140, "#1f2328", "D")

    def __init__(self, spec: PretrainedSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        if spec.architecture is None or spec.preprocessing is None:
            raise LatentbenchError(f"{spec.label}: weights unknown; call zoo.resolve on the spec first")
        self.architecture: Mapping[str, Any] = spec.architecture
        self.preprocessing: Mapping[str, Any] = spec.preprocessing
        self.towers: Any = open_clip_source.build(
            {"model_cfg": spec.architecture, "preprocess_cfg": spec.preprocessing}
        )
        self.tokenizer: Any = None
        text: Any = spec.architecture["text_cfg"]
        self.context = int(text.get("context_length", DEFAULT_CONTEXT))

    @override
    @classmethod
    def resolve(cls, spec: PretrainedSpec, data: ImageData, resolver: Resolver) -> PretrainedSpec:
        """Return the spec with architecture, preprocessing, width and the weights' digest, after a trial."""
        source = spec.pretrained
        loaded = open_clip_source.load(source, resolver)
        location = open_clip_source.location(source, resolver)
        filled = spec.model_copy(
            update={
                "architecture": loaded.config["model_cfg"],
                "preprocessing": loaded.config["preprocess_cfg"],
                "tokenizer": location if source.model != location else None,
            }
        )
        model = cls(filled, data.image_shape).eval()
        if not isinstance(data, CompleteImageData):
            check_size(filled, data)
        state_dicts.apply(model.towers, loaded.weights.state, spec.label)
        state_dicts.keep(loaded.weights.state, loaded.weights.sha256)
        tolerance = TOLERANCE if spec.precision == "fp32" else LOW_PRECISION_TOLERANCE
        with torch.inference_mode():
            shape = Trial(spec.label, tolerance).image_text(model, trial_images(data), TRIAL_CAPTIONS)
            if data.classes:
                texts = prompts_of(data.classes, templates_of(data))
                model.tokens([text for row in texts for text in row])  # none is too long
            if isinstance(data, PairedImageData):
                model.tokens(list(data.captions))
        return stated(filled, spec.label, shape=shape, sha256=loaded.weights.sha256)

    @override
    @property
    def holder(self) -> nn.Module:
        """Both towers."""
        towers: nn.Module = self.towers
        return towers

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that the model takes, in pixels."""
        return _size(self.preprocessing)

    @property
    def transform(self) -> ImageTransform:
        """open_clip's own transform of an image, up to its pixels."""
        return open_clip_source.OpenClipTransform(self.preprocessing, self.size)

    def encode_image(self, x: Tensor) -> Tensor:
        """Map images in [0, 1] `[B, C, H, W]` to unit vectors `[B, D]`."""
        with self._precision(x.device):
            embedding: Tensor = self.towers.encode_image(self.preprocessed(x), normalize=True)
        return embedding.float()

    def preprocessed(self, x: Tensor) -> Tensor:
        """Preprocess images in [0, 1] `[B, C, H, W]` as open_clip does; the right size is left unchanged."""
        x = self._resized(x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x)
        mean, deviation = (
            torch.tensor(self.preprocessing[name], device=x.device).expand(3).view(1, 3, 1, 1)
            for name in ("mean", "std")
        )
        return (x - mean) / deviation

    def _resized(self, x: Tensor) -> Tensor:
        """Resize to the model's size by its `resize_mode`: squash, or keep the ratio and crop or pad."""
        from open_clip.transform import center_crop_or_pad

        if x.shape[2:] == self.size:
            return x
        mode = self.preprocessing.get("resize_mode", "shortest")
        ratios = [wanted / given for wanted, given in zip(self.size, x.shape[2:], strict=True)]
        scale = max(ratios) if mode == "shortest" else min(ratios)
        sides = self.size if mode == "squash" else tuple(round(scale * side) for side in x.shape[2:])
        # For sides that differ, open_clip's `shortest` is always bicubic.
        cropped_sides = mode == "shortest" and self.size[0] != self.size[1]
        bilinear = self.preprocessing.get("interpolation") == "bilinear" and not cropped_sides
        from torchvision.transforms import InterpolationMode, functional  # takes seconds to import

        interpolation = InterpolationMode.BILINEAR if bilinear else InterpolationMode.BICUBIC
        resized = functional.resize(x, list(sides), interpolation, antialias=True).clamp(0, 1)
        fill = self.preprocessing.get("fill_color", 0) / 255
        cropped: Tensor = center_crop_or_pad(resized, list(self.size), fill=fill)
        return cropped

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Map captions to unit vectors `[B, D]`, 256 at a time.

        Raises LatentbenchError for a caption longer than the context, whose end would be cut off.
        """
        device = next(self.parameters()).device
        tokens = self.tokens(list(captions)).to(device)
        with self._precision(device):
            parts = [self._encode_tokens(part).float() for part in tokens.split(TEXT_BATCH)]
        return torch.cat(parts)

    def _encode_tokens(self, tokens: Tensor) -> Tensor:
        """Map token ids `[N, context]` to unit vectors `[N, D]`.

        Under a causal mask the last token of a text, whose vector is used, does not see the padding behind
        it. So padding that all texts share is left out, which saves most of the work.
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

    def tokens(self, captions: list[str]) -> Tensor:
        """Return token ids `[N, context]`; raises LatentbenchError if a caption has more."""
        if self.tokenizer is None:
            name = self.spec.tokenizer or self.spec.pretrained.model
            self.tokenizer = open_clip_source.tokenizer(name, self.architecture, self.context)
        # With twice the length, a caption that is too long has tokens where there should only be padding.
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
    def content(self) -> str:
        """The sha256 of the weights' digest, the architecture and the precision."""
        spec = self.spec
        return digest_of([spec.checkpoint_sha256, spec.architecture, spec.precision])

    @property
    def scale(self) -> Tensor:
        """The factor of the cosines."""
        scale: Tensor = self.towers.logit_scale.exp()
        return scale

    def _precision(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.spec.precision == "bf16")


def _size(preprocessing: Mapping[str, Any]) -> tuple[int, int]:
    size = preprocessing["size"]
    height, width = size if isinstance(size, Sequence) else (size, size)
    return int(height), int(width)


def check_size(spec: PretrainedSpec, data: ImageData) -> None:
    """Refuse images from files that were read smaller than the model's size: enlarging adds no detail."""
    assert spec.preprocessing is not None
    side, needed = data.image_shape[-1], max(_size(spec.preprocessing))
    if data.name.partition(":")[0] not in FORMS or side >= needed:
        return
    raise LatentbenchError(
        f"{spec.label}: takes images of {needed} pixels, and {data.name} were read at {side}; "
        f"use {parse(data.name, []).with_options(size=needed)}"
    )
