"""The base class of the autoencoders: a backbone on either side of a bottleneck."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.codes import Shape
from latentbench.models.family import GradientFamily
from latentbench.models.networks.backbones import ACTIVATIONS, BACKBONES, ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.resolver import Resolver
from latentbench.models.spec import ModelSpec
from latentbench.models.training.engine import Draw, TrainingStep
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

    def grid_of(self, image_shape: ImageShape) -> Shape | None:
        """Return the shape of a code that is a grid, for images of a shape; None for a vector."""
        del image_shape
        return None

    @override
    def usual(self) -> Mapping[str, object]:
        return {**super().usual(), **BACKBONES[self.backbone].settings}


class SpatialSpec(AutoencoderSpec):
    """Settings of an autoencoder whose code may be a grid."""

    code: Literal["grid"] | None = None
    """`grid` for a code `(C, h, w)` of `latent_dim` channels, with backbone conv; a vector if not given."""

    @model_validator(mode="after")
    def _a_grid_needs_its_backbone(self) -> Self:
        if self.code == "grid" and BACKBONES[self.backbone].grid is None:
            able = ", ".join(name for name, backbone in BACKBONES.items() if backbone.grid)
            raise LatentbenchError(f"code: grid needs backbone {able}, got {self.backbone!r}")
        return self

    @override
    def grid_of(self, image_shape: ImageShape) -> Shape | None:
        grid = BACKBONES[self.backbone].grid
        if self.code is None or grid is None:
            return None
        side = grid.side(image_shape[1])
        return self.latent_dim, side, side


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
        grid = backbone.grid if spec.grid_of(image_shape) else None
        networks = grid or backbone
        self.encoder, features = networks.encoder(image_shape, **settings)
        width = self.codes_per_dim * spec.latent_dim
        self.to_code = nn.Conv2d(features, width, 1) if grid else nn.Linear(features, width)
        # Settings in which members of a stack differ are stacked like weights: one number per member.
        for name in self.stacked_over or ():
            if name != "latent_dim":
                self.register_buffer(name, torch.tensor(float(getattr(spec, name))), persistent=False)
        self.decoder = networks.decoder(image_shape, spec.latent_dim, **settings)

    @override
    @classmethod
    def resolve(cls, spec: AutoencoderSpecT, data: ImageData, resolver: Resolver) -> AutoencoderSpecT:
        spec = super().resolve(spec, data, resolver)
        return spec.model_copy(update={"code_shape": spec.grid_of(data.image_shape)})

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
        """Map images in [0, 1] `[B, C, H, W]` to codes `[B, *shape]`."""
        return Posterior(self.to_code(self.encoder(x)))

    def decode(self, z: Tensor) -> Tensor:
        """Map codes `[B, *shape]` to images in [0, 1] `[B, C, H, W]`."""
        return torch.sigmoid(self.decoder(z).float())

    @abstractmethod
    def loss(self, x: Tensor, step: TrainingStep) -> dict[str, Tensor]:
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
    def forward(self, step: TrainingStep) -> dict[str, Tensor]:
        return self.loss(step.rows[0].float() / 255, step)


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the squared error summed over pixels, averaged over the batch: a scalar; both `[B, ...]`."""
    return (x - reconstruction.float()).square().flatten(1).sum(1).mean()
