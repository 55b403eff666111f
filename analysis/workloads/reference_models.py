"""Reference models for timing: production architectures from their published configurations.

Their weights are random, which does not change their speed, so nothing is downloaded. They are never trained
and have no quality to measure; sweeps (`latentbench time`) compare the zoo with them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from latentbench.data.errors import LatentbenchError, missing_package
from latentbench.data.registry import Registry
from latentbench.models.families.autoencoders.gradient_autoencoder import squared_error
from latentbench.models.protocols import Posterior
from latentbench.models.spec import REFERENCE, ReferenceSpec
from latentbench.models.training.engine import Draw, Trainable, TrainingStep, step_on_batches
from latentbench.models.training.recipe import Recipe

LATENT_SIDE, LATENT_CHANNELS, IMAGE_SIDE = 64, 4, 512
"""The sizes of Stable Diffusion's autoencoder (Rombach et al. 2022, arXiv:2112.10752)."""
BLOCK_CHANNELS = 320
"""The width of the first level of Stable Diffusion's denoiser."""
OPEN_CLIP = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "RN50", "convnext_base")


class ReferenceModule(Trainable):
    """A part of a production model, with an objective so that its train step can be timed."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module: Any = module

    @abstractmethod
    def objective(self, x: Tensor) -> Tensor:
        """Return the scalar that a train step minimises; every weight takes part in it."""

    @override
    def forward(self, step: TrainingStep) -> dict[str, Tensor]:
        x = step.rows[0]
        return {"loss": self.objective(x.float() / 255 if x.dtype == torch.uint8 else x)}

    @override
    def draws(self, batch_size: int) -> dict[str, Draw]:
        return {}

    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return a training batch: the inputs only."""
        return (images,)

    def train_step(self, recipe: Recipe) -> Callable[[Tensor], None]:
        """Take one step of training on a batch of uint8 images, or of tokens."""
        return step_on_batches(self, self.timing_batch, recipe)


class ImageTower(ReferenceModule):
    """The image encoder of an open_clip model."""

    def encode_image(self, x: Tensor) -> Tensor:
        """Map images `[B, C, H, W]` to unit vectors `[B, D]`."""
        return F.normalize(self.module(x), dim=-1)

    @override
    def objective(self, x: Tensor) -> Tensor:
        output: Tensor = self.module(x)
        return output.float().square().mean()


class TextTower(ReferenceModule):
    """The text encoder of an open_clip model."""

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Map tokens `[B, T]` to unit vectors `[B, D]`."""
        return F.normalize(self.module.encode_text(tokens), dim=-1)

    @override
    def objective(self, x: Tensor) -> Tensor:
        output: Tensor = self.module.encode_text(x)
        return output.float().square().mean()


class LatentAutoencoder(ReferenceModule):
    """An autoencoder of diffusers, between images and a grid of latents."""

    def encode(self, x: Tensor) -> Posterior:
        """Map images `[B, C, H, W]` to the latents' mean `[B, D]`."""
        coded = self.module.encode(x)
        latents = coded.latent_dist.mean if hasattr(coded, "latent_dist") else coded.latents
        return Posterior(latents.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        """Map latents `[B, D]` to images `[B, C, H, W]`."""
        grid = z.unflatten(1, (LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE))
        image: Tensor = self.module.decode(grid).sample
        return image

    @override
    def objective(self, x: Tensor) -> Tensor:
        return squared_error(x, self.decode(self.encode(x).mean))


class DenoiserBlock(ReferenceModule):
    """One residual block at the first level of Stable Diffusion's denoiser, on a grid of features."""

    def denoise(self, x: Tensor) -> Tensor:
        """Map features `[B, 320, S, S]` to the same shape; every sampling step runs many such blocks."""
        features: Tensor = self.module(x)
        return features

    @override
    def objective(self, x: Tensor) -> Tensor:
        output: Tensor = self.module(x)
        return output.float().square().mean()


class ResidualBlock(nn.Module):
    """The sum of x and two rounds of group norm, SiLU and 3×3 convolution, on features `[B, C, H, W]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        rounds = [
            layer
            for _ in range(2)
            for layer in (nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        ]
        self.rounds = nn.Sequential(*rounds)

    @override
    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + self.rounds(x)
        return changed


def _open_clip(name: str) -> Any:
    """Build the whole model, from its configuration in open_clip."""
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
    """Build the autoencoder in Stable Diffusion's configuration."""
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
    """Build TAESD, whose configuration is the default of diffusers."""
    diffusers: Any = import_module("diffusers")
    return diffusers.AutoencoderTiny()


IMAGE = (3, IMAGE_SIDE, IMAGE_SIDE)
LATENT_NUMBERS = LATENT_CHANNELS * LATENT_SIDE**2
EMBEDDING = {"ViT-B-32": 512, "ViT-B-16": 512, "ViT-L-14": 768, "RN50": 1024, "convnext_base": 512}
TOKENS = 77


@dataclass(frozen=True)
class ReferenceModel:
    """A reference model given by its network, its wrapper and its shapes (see `candidate.Timed`)."""

    name: str
    kind: type[ReferenceModule]
    network: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    latent_dim: int
    package: str
    """The package that builds the network."""

    @property
    def spec(self) -> ReferenceSpec:
        """The model's identity in records."""
        return ReferenceSpec(family=REFERENCE, latent_dim=self.latent_dim, name=self.name)

    def build(self) -> nn.Module:
        """Build the model in evaluation mode. Raises LatentbenchError if its package is not installed."""
        if find_spec(self.package) is None:
            raise LatentbenchError(missing_package(self.name, self.package, self.package))
        return self.kind(self.network()).eval()


REFERENCE_MODELS: Registry[ReferenceModel] = Registry("reference model")


def _register(model: ReferenceModel) -> None:
    REFERENCE_MODELS.register(model.name)(model)


def _register_all() -> None:
    for name in OPEN_CLIP:
        image, text = partial(_image_tower, name), partial(_text_tower, name)
        width = EMBEDDING[name]
        _register(ReferenceModel(f"{name} image", ImageTower, image, (3, 224, 224), width, "open_clip"))
        _register(ReferenceModel(f"{name} text", TextTower, text, (TOKENS,), width, "open_clip"))
    for name, autoencoder in (("AutoencoderKL", _autoencoder_kl), ("AutoencoderTiny", _autoencoder_tiny)):
        _register(ReferenceModel(name, LatentAutoencoder, autoencoder, IMAGE, LATENT_NUMBERS, "diffusers"))
    for where, side in (("latents", LATENT_SIDE), ("pixels", IMAGE_SIDE)):
        shape, block = (BLOCK_CHANNELS, side, side), partial(ResidualBlock, BLOCK_CHANNELS)
        _register(
            ReferenceModel(f"denoiser-block {where}", DenoiserBlock, block, shape, math.prod(shape), "torch")
        )


_register_all()
