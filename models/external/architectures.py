"""Production architectures from their published configurations, with random weights: to be timed.

Speed does not depend on the weights, so nothing is downloaded. They are never trained here and have no
quality to measure; a sweep (`latentbench run throughput`) is what they are for.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Self, cast

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.registry import Registry
from latentbench.models.families.autoencoders.gradient_autoencoder import squared_error
from latentbench.models.family import FAMILIES, Display, GradientFamily
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.resolver import Resolver
from latentbench.models.spec import ModelSpec
from latentbench.models.training.engine import Draw, Progress, Step
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe

LATENT_SIDE, LATENT_CHANNELS, IMAGE_SIDE = 64, 4, 512
"""Of Stable Diffusion's autoencoder (Rombach et al. 2022, arXiv:2112.10752)."""
BLOCK_CHANNELS = 320
"""Width of the first level of Stable Diffusion's denoiser."""
OPEN_CLIP = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "RN50", "convnext_base")


@dataclass(frozen=True)
class Architecture:
    """A part of a model that is deployed: what goes in, how wide what comes out is, and how it is built."""

    kind: type[Deployed]
    input_shape: tuple[int, ...]
    """Of one example: an image `[C, H, W]`, or the tokens of a caption `[T]`."""
    latent_dim: int
    """Numbers that an example becomes."""
    build: Callable[[], nn.Module]
    package: str
    """What has to be installed."""


class ArchitectureSpec(ModelSpec):
    """Which architecture; the width of its code follows from that."""

    name: str

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_width(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            return given
        width = ARCHITECTURES[given["name"]].latent_dim
        if given.get("latent_dim", width) != width:
            raise LatentbenchError(f"{given['name']} has latent_dim {width}, got {given['latent_dim']!r}")
        return {**given, "latent_dim": width}

    @property
    def label(self) -> str:
        """The architecture's name, such as `ViT-B-32 image`."""
        return self.name

    @property
    def series(self) -> str:
        """The same: it comes in one width."""
        return self.name


@FAMILIES.register("architecture")
class Deployed(GradientFamily[ArchitectureSpec]):
    """A production architecture with random weights, for sweeps of speed; not trained, no quality."""

    Spec: ClassVar[type[ModelSpec]] = ArchitectureSpec
    paper: ClassVar[str] = "open_clip: Ilharco et al. 2021; AutoencoderKL: Rombach et al. 2022"
    display: ClassVar[Display] = Display(150, "#8a4f9e", "8")

    def __init__(self, spec: ArchitectureSpec, image_shape: ImageShape, module: nn.Module) -> None:
        super().__init__(spec, image_shape)
        self.module: Any = module

    @classmethod
    def build(cls, spec: ArchitectureSpec, image_shape: ImageShape) -> Self:
        """The architecture in evaluation mode; it has an input shape of its own, whatever is given."""
        architecture = ARCHITECTURES[spec.name]
        if find_spec(architecture.package) is None:
            raise LatentbenchError(
                f"{spec.name} is built by {architecture.package}, which is not installed; "
                f"pip install 'latentbench[{architecture.package}]'"
            )
        return cast(Self, architecture.kind(spec, image_shape, architecture.build()).eval())

    @classmethod
    def resolve(cls, spec: ArchitectureSpec, data: ImageData, resolver: Resolver) -> ArchitectureSpec:
        """Refused: an ordinary suite trains its models and measures what they have learned."""
        del data, resolver
        raise LatentbenchError(
            f"{spec.name} has random weights and is there to be timed: latentbench run throughput"
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return ARCHITECTURES[self.spec.name].input_shape

    @property
    def width(self) -> int:
        """Numbers that an example becomes."""
        return self.spec.latent_dim

    @abstractmethod
    def objective(self, x: Tensor) -> Tensor:
        """What a train step minimises on its inputs: a scalar that every weight takes part in."""

    def forward(self, step: Step) -> dict[str, Tensor]:
        """The objective of a batch of uint8 images, or of tokens."""
        x = step.rows[0]
        return {"loss": self.objective(x.float() / 255 if x.dtype == torch.uint8 else x)}

    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        """The inputs alone."""
        return (images,)

    def draws(self, batch_size: int) -> dict[str, Draw]:
        """None."""
        del batch_size
        return {}

    def training_tensors(self, data: ImageData) -> tuple[Tensor, ...]:
        """Refused, as by `fit`."""
        raise NotImplementedError(f"{self.spec.name} is not trained")

    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Refused: `resolve` has said so already."""
        raise NotImplementedError(f"{self.spec.name} is not trained")


class ImageTower(Deployed):
    """The image tower of an open_clip model."""

    def encode_image(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` to unit vectors `[B, D]`."""
        return F.normalize(self.module(x), dim=-1)

    def objective(self, x: Tensor) -> Tensor:
        """The mean square of what the tower gives, before it is normalised."""
        output: Tensor = self.module(x)
        return output.float().square().mean()


class TextTower(Deployed):
    """The text tower of an open_clip model."""

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens `[B, T]` to unit vectors `[B, D]`."""
        return F.normalize(self.module.encode_text(tokens), dim=-1)

    def objective(self, x: Tensor) -> Tensor:
        """The mean square of what the tower gives, before it is normalised."""
        output: Tensor = self.module.encode_text(x)
        return output.float().square().mean()


class DeployedAutoencoder(Deployed):
    """An autoencoder of diffusers: images to a grid of latents and back."""

    def encode(self, x: Tensor) -> Posterior:
        """Images `[B, C, H, W]` to the latents' mean `[B, D]`."""
        coded = self.module.encode(x)
        latents = coded.latent_dist.mean if hasattr(coded, "latent_dist") else coded.latents
        return Posterior(latents.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        """Latents `[B, D]` to images `[B, C, H, W]`."""
        grid = z.unflatten(1, (LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE))
        image: Tensor = self.module.decode(grid).sample
        return image

    def objective(self, x: Tensor) -> Tensor:
        """Squared error of the reconstruction."""
        return squared_error(x, self.decode(self.encode(x).mean))


class DenoiserBlock(Deployed):
    """One residual block at the first level of Stable Diffusion's denoiser, on a grid of features."""

    def denoise(self, x: Tensor) -> Tensor:
        """Features `[B, 320, S, S]` to the same: what sampling repeats at every step, many times over."""
        features: Tensor = self.module(x)
        return features

    def objective(self, x: Tensor) -> Tensor:
        """The mean square of what comes out."""
        output: Tensor = self.module(x)
        return output.float().square().mean()


class ResidualBlock(nn.Module):
    """x + two rounds of group norm, SiLU and a 3×3 convolution: features `[B, C, H, W]` to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        rounds = [
            layer
            for _ in range(2)
            for layer in (nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        ]
        self.rounds = nn.Sequential(*rounds)

    def forward(self, x: Tensor) -> Tensor:
        """Features to features."""
        changed: Tensor = x + self.rounds(x)
        return changed


def _open_clip(name: str) -> Any:
    """The whole model, as its configuration in open_clip has it."""
    import open_clip
    from open_clip.model import CLIP

    return CLIP(**open_clip.get_model_config(name))


def _image_tower(name: str) -> Any:
    return _open_clip(name).visual


def _text_tower(name: str) -> Any:
    model = _open_clip(name)
    del model.visual
    return model


def _autoencoder_kl() -> Any:
    """Stable Diffusion's own configuration."""
    diffusers: Any = import_module("diffusers")
    return diffusers.AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=32,
        sample_size=IMAGE_SIDE,
    )


def _autoencoder_tiny() -> Any:
    """The defaults of diffusers are TAESD's."""
    diffusers: Any = import_module("diffusers")
    return diffusers.AutoencoderTiny()


IMAGE = (3, IMAGE_SIDE, IMAGE_SIDE)
LATENT_NUMBERS = LATENT_CHANNELS * LATENT_SIDE**2
EMBEDDING = {"ViT-B-32": 512, "ViT-B-16": 512, "ViT-L-14": 768, "RN50": 1024, "convnext_base": 512}
TOKENS = 77


def _tower(name: str, tower: str) -> Architecture:
    if tower == "image":
        return Architecture(
            ImageTower, (3, 224, 224), EMBEDDING[name], partial(_image_tower, name), "open_clip"
        )
    return Architecture(TextTower, (TOKENS,), EMBEDDING[name], partial(_text_tower, name), "open_clip")


def _autoencoder(build: Callable[[], nn.Module]) -> Architecture:
    return Architecture(DeployedAutoencoder, IMAGE, LATENT_NUMBERS, build, "diffusers")


def _block(side: int) -> Architecture:
    shape = (BLOCK_CHANNELS, side, side)
    return Architecture(
        DenoiserBlock, shape, math.prod(shape), partial(ResidualBlock, BLOCK_CHANNELS), "torch"
    )


ARCHITECTURES: Registry[Architecture] = Registry("architecture")
for _name in OPEN_CLIP:
    for _part in ("image", "text"):
        ARCHITECTURES.register(f"{_name} {_part}")(_tower(_name, _part))
ARCHITECTURES.register("AutoencoderKL")(_autoencoder(_autoencoder_kl))
ARCHITECTURES.register("AutoencoderTiny")(_autoencoder(_autoencoder_tiny))
ARCHITECTURES.register("denoiser-block latents")(_block(LATENT_SIDE))
ARCHITECTURES.register("denoiser-block pixels")(_block(IMAGE_SIDE))


def input_shape(spec: ModelSpec, image_shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of one example: an architecture's own, or the image shape that the zoo is built for."""
    if isinstance(spec, ArchitectureSpec):
        return ARCHITECTURES[spec.name].input_shape
    return tuple(image_shape)
