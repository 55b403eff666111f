"""Autoencoders of diffusers, from the Hugging Face hub or a folder; never trained here.

The class is the one that the model's config.json names. Pixels are mapped to [−1, 1], as all of these
models use them, and decoded images are clipped to [0, 1]. Values that are not finite become NaN, so that an
overflow in half precision is seen and counted.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self, cast

import torch
from pydantic import AfterValidator
from torch import Tensor, nn
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.text.visible import visible
from latentbench.models.external import state_dicts
from latentbench.models.external.base import LoadedFamily, LoadedSpec, mean_and_log_var, stated
from latentbench.models.external.diffusers_source import (
    FACTORS,
    DiffusersSource,
    Json,
    class_of,
    location_of,
    read_config,
    read_weights,
)
from latentbench.models.external.trial import Trial, trial_images
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.resolver import Resolver
from latentbench.models.spec import Display


class DiffusersSpec(LoadedSpec):
    """Settings of an autoencoder of diffusers; `resolve` fills in what a suite leaves out."""

    pretrained: DiffusersSource
    name: Annotated[str, AfterValidator(visible)] | None = None
    """The model's name in tables; by default that of the repository or folder."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """The number format of weights and computation."""
    tiling: bool = False
    """True if large images are encoded and decoded in tiles: less memory, and another result at the edges."""
    scaled: bool = False
    """True if codes are (code − shift_factor) · scaling_factor, as a diffusion model sees them."""
    config: Json | None = None
    """The content of config.json, which states the class and its arguments."""
    scaling_factor: float | None = None
    """From config.json; None if it states none."""
    shift_factor: float | None = None

    @property
    @override
    def label(self) -> str:
        """The model's name with the size of its code, such as `sd-vae-ft-mse-4×32×32 float16`."""
        size = f"-{self.size}" if self.latent_dim else ""
        return " ".join([f"{self.name or self.pretrained.label}{size}", *self._variants()])

    @property
    @override
    def series(self) -> str:
        """The model's name."""
        return " ".join([self.name or self.pretrained.label, *self._variants()])

    def _variants(self) -> list[str]:
        dtype = [] if self.dtype == "float32" else [self.dtype]
        return [*dtype, *(name for name in ("tiling", "scaled") if getattr(self, name))]


@FAMILIES.register("diffusers")
class Diffusers(LoadedFamily[DiffusersSpec]):
    """An autoencoder of diffusers, `pretrained: {model: stabilityai/sd-vae-ft-mse}`; never trained.

    Grey images are repeated to RGB, and of a grey image's reconstruction the mean over channels is measured.
    """

    Spec: ClassVar[type[DiffusersSpec]] = DiffusersSpec
    paper: ClassVar[str] = "Rombach et al. 2022, arXiv:2112.10752"
    display: ClassVar[Display] = Display(150, "#6a3d9a", "h")

    def __init__(self, spec: DiffusersSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        if spec.config is None:
            raise LatentbenchError(f"{spec.label}: weights unknown; call zoo.resolve on the spec first")
        built: nn.Module = class_of(spec.config, spec.label).from_config(spec.config)
        # diffusers' own `to` prints a warning for every model.
        self.module = cast(Any, nn.Module.to(built, getattr(torch, spec.dtype)))
        self.has_frames = next(weight.ndim for weight in built.parameters() if weight.ndim > 3) == 5
        """True for an autoencoder of videos, of which an image is one frame."""
        if spec.tiling:
            try:
                self.module.enable_tiling()
            except (AttributeError, NotImplementedError):
                raise LatentbenchError(f"{spec.label}: {type(built).__name__} offers no tiling") from None

    @override
    @classmethod
    def build(cls, spec: DiffusersSpec, image_shape: ImageShape) -> Self:
        """Build an untrained model of the class that suits the code: discrete for a VQModel."""
        kind = DiffusersVQ if spec.config and spec.config.get("_class_name") == "VQModel" else cls
        return cast(Self, kind(spec, image_shape))

    @override
    @classmethod
    def resolve(cls, spec: DiffusersSpec, data: ImageData, resolver: Resolver) -> DiffusersSpec:
        """Return the spec with its config, code shape and the weights' digest, after a trial in float32."""
        location = location_of(spec.pretrained, resolver)
        config = read_config(spec.pretrained, location)
        factors = {name: config.get(name) for name in FACTORS}
        filled = spec.model_copy(update={"config": config, **factors})
        _check_images(filled, data)
        state = read_weights(spec.pretrained, config, location, resolver, spec.label)
        sha256 = state_dicts.fingerprint(state)
        state_dicts.keep(state, sha256)
        # In half precision a model may overflow: that is a result, and no reason to refuse it.
        model = cls.build(filled.model_copy(update={"dtype": "float32"}), data.image_shape).eval()
        state_dicts.apply(model.holder, state, spec.label)
        with torch.inference_mode():
            shape = Trial(spec.label).autoencoder(cast(Any, model), trial_images(data))
        return stated(filled, spec.label, shape=shape, sha256=sha256)

    @override
    @property
    def holder(self) -> nn.Module:
        module: nn.Module = self.module
        return module

    def encode(self, x: Tensor) -> Posterior:
        """Map images in [0, 1] `[B, C, H, W]` to q(z | x), a grid `[B, C, h, w]`."""
        mean, log_var = mean_and_log_var(self.module.encode(self._pixels(x)))
        posterior = Posterior(cast(Tensor, mean), cast("Tensor | None", log_var))
        return self._scaled(posterior.map(lambda values: self._without_frame(values).float()))

    def decode(self, z: Tensor) -> Tensor:
        """Map codes `[B, C, h, w]` to images in [0, 1] `[B, C, H, W]`; what is not finite becomes NaN."""
        code = self._unscaled(z).to(getattr(torch, self.spec.dtype))
        given = self.module.decode(code.unsqueeze(2) if self.has_frames else code)
        image = self._without_frame(given.sample).float() / 2 + 0.5
        if self.image_shape[0] == 1:
            image = image.mean(1, keepdim=True)
        return image.clamp(0, 1).masked_fill(~image.isfinite(), torch.nan)

    def _pixels(self, x: Tensor) -> Tensor:
        """Map images in [0, 1] to what the module takes: in [−1, 1], RGB, in its number format."""
        pixels = (2 * x - 1).expand(-1, 3, -1, -1).to(getattr(torch, self.spec.dtype))
        return pixels.unsqueeze(2) if self.has_frames else pixels

    def _without_frame(self, values: Tensor) -> Tensor:
        return values.squeeze(2) if self.has_frames else values

    def _scaled(self, posterior: Posterior) -> Posterior:
        if not self.spec.scaled:
            return posterior
        scale, log_var = self.spec.scaling_factor or 1.0, posterior.log_var
        wider = None if log_var is None else log_var + 2 * torch.tensor(scale).log().item()
        return Posterior((posterior.mean - (self.spec.shift_factor or 0.0)) * scale, wider)

    def _unscaled(self, z: Tensor) -> Tensor:
        if not self.spec.scaled:
            return z
        return z / (self.spec.scaling_factor or 1.0) + (self.spec.shift_factor or 0.0)


class DiffusersVQ(Diffusers):
    """A VQModel, whose code is a grid of choices from a codebook."""

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """The size of the codebook, for each position."""
        shape = self.spec.code_shape or (0, 0, 0)
        return shape[1] * shape[2] * (int(self.module.quantize.n_e),)

    @override
    def encode(self, x: Tensor) -> Posterior:
        """Map images to the nearest vectors of the codebook, `[B, C, h, w]`."""
        latents = self.module.encode(self._pixels(x)).latents
        return self._scaled(Posterior(self.module.quantize(latents)[0].float()))

    def indices(self, z: Tensor) -> Tensor:
        """Return the place in the codebook of codes `[B, C, h, w]` at each position, int64 `[B, P]`."""
        latents = self._unscaled(z).to(getattr(torch, self.spec.dtype))
        places: Tensor = self.module.quantize(latents)[2][2]
        return places.reshape(len(z), -1)

    def codes(self, indices: Tensor) -> Tensor:
        """Return the codes `[B, C, h, w]` of places in the codebook `[B, P]`."""
        channels, height, width = self.spec.code_shape or (0, 0, 0)
        shape = (len(indices), height, width, channels)
        vectors: Tensor = self.module.quantize.get_codebook_entry(indices.flatten(), shape)
        return self._scaled(Posterior(vectors.float())).mean


def _check_images(spec: DiffusersSpec, data: ImageData) -> None:
    """Refuse images whose sides are no multiples of the downsampling factor: nothing is cropped."""
    config, sides = spec.config or {}, data.image_shape[1:]
    widths = config.get("encoder_block_out_channels") or config.get("block_out_channels")
    factor = 2 ** (len(widths) - 1) if isinstance(widths, list) else 1
    if any(side % factor for side in sides):
        larger = -(-max(sides) // factor) * factor
        raise LatentbenchError(
            f"{spec.label}: takes images whose sides are multiples of {factor}, those of {data.name} are "
            f"{sides[0]}×{sides[1]}; read them with size {larger}"
        )
    if config.get("in_channels", 3) != 3:
        raise LatentbenchError(f"{spec.label}: takes {config['in_channels']} channels, expected 3")
