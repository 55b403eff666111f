"""The base class of the autoencoders: a backbone on either side of a bottleneck."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.family import GradientFamily
from latentbench.models.networks.backbones import ACTIVATIONS, BACKBONES, ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.spec import ModelSpec
from latentbench.models.training.engine import Draw, Step
from latentbench.models.training.stacking import stack_width

Count = Annotated[int, Field(ge=1, strict=True)]
Weight = Annotated[float, Field(ge=0)]


class AutoencoderSpec(ModelSpec):
    """Settings of an autoencoder's networks; settings that the backbone lacks stay None."""

    backbone: str = "mlp"
    hidden: Count | None = None
    """Width of the backbone: hidden units (mlp), channels of the first block (conv)."""
    depth: Count | None = None
    """Hidden layers each way (mlp)."""
    activation: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_backbone(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        name = given.get("backbone") or "mlp"
        backbone = BACKBONES[str(name)]
        for key in ("hidden", "depth", "activation"):
            if given.get(key) is not None and key not in backbone.settings:
                allowed = ", ".join(backbone.settings) or "none"
                raise LatentbenchError(
                    f"backbone {name!r} has no setting {key!r} (given {given[key]!r}; allowed: {allowed})"
                )
        if given.get("activation") is not None:
            ACTIVATIONS[str(given["activation"])]
        chosen = {key: value for key, value in given.items() if value is not None}
        return {**backbone.settings, "backbone": name, **chosen}

    def backbone_settings(self) -> dict[str, Any]:
        """Return the keywords that the backbone's functions take."""
        return {name: getattr(self, name) for name in BACKBONES[self.backbone].settings}

    @override
    def usual(self) -> Mapping[str, object]:
        return {**super().usual(), **BACKBONES[self.backbone].settings}


AutoencoderSpecT = TypeVar("AutoencoderSpecT", bound=AutoencoderSpec)


class GradientAutoencoder(GradientFamily[AutoencoderSpecT]):
    """An encoder, a bottleneck and a decoder, trained by the engine; a family adds its `loss`."""

    Spec: ClassVar[type[ModelSpec]] = AutoencoderSpec
    codes_per_dim: ClassVar[int] = 1
    stacked_over: ClassVar[tuple[str, ...] | None] = ("latent_dim",)
    """Settings in which members of a stack may differ, each a buffer; None if the family is not stacked."""

    def __init__(self, spec: AutoencoderSpecT, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        backbone = BACKBONES[spec.backbone]
        settings = spec.backbone_settings()
        self.encoder, features = backbone.encoder(image_shape, **settings)
        self.to_code = nn.Linear(features, self.codes_per_dim * spec.latent_dim)
        # Settings in which members of a stack differ are stacked like weights: one number per member.
        for name in self.stacked_over or ():
            if name != "latent_dim":
                self.register_buffer(name, torch.tensor(float(getattr(spec, name))), persistent=False)
        self.decoder = backbone.decoder(image_shape, spec.latent_dim, **settings)

    @override
    @classmethod
    def stack_pattern(cls, spec: AutoencoderSpecT) -> AutoencoderSpecT | None:
        """Return the spec without the settings of `stacked_over`, if stacking the backbone saves time."""
        if cls.stacked_over is None or not BACKBONES[spec.backbone].stackable:
            return None
        alike = dict.fromkeys(cls.stacked_over, 0)
        if "latent_dim" in alike:
            alike["latent_dim"] = stack_width(spec.latent_dim)
        return spec.model_copy(update=alike)

    @override
    @property
    def width(self) -> int:
        return self.spec.latent_dim

    def encode(self, x: Tensor) -> Posterior:
        """Map images in [0, 1] `[B, C, H, W]` to codes `[B, D]`."""
        return Posterior(self.to_code(self.encoder(x)))

    def decode(self, z: Tensor) -> Tensor:
        """Map codes `[B, D]` to images in [0, 1] `[B, C, H, W]`."""
        return torch.sigmoid(self.decoder(z).float())

    @abstractmethod
    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """Return the terms of the objective, averaged over a batch of float images `[B, C, H, W]`."""

    @override
    def draws(self, batch_size: int) -> dict[str, Draw]:
        return {}

    @override
    def training_tensors(self, data: ImageData) -> tuple[Tensor, ...]:
        return (data.train.images,)

    @override
    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        return (images,)

    @override
    def forward(self, step: Step) -> dict[str, Tensor]:
        return self.loss(step.rows[0].float() / 255, step)


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the squared error summed over pixels, averaged over the batch: a scalar; both `[B, ...]`."""
    return (x - reconstruction.float()).square().flatten(1).sum(1).mean()
