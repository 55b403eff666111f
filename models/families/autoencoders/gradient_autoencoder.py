"""What the autoencoders of the zoo have in common: a backbone on either side of a bottleneck."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

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
    """Settings of an autoencoder's networks; those a backbone does not have stay None."""

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
        """The keywords that the backbone's functions take."""
        return {name: getattr(self, name) for name in BACKBONES[self.backbone].settings}

    def usual(self) -> Mapping[str, object]:
        """The backbone's own widths go without saying."""
        return {**super().usual(), **BACKBONES[self.backbone].settings}


class GradientAutoencoder(GradientFamily):
    """Encoder, bottleneck, decoder, and training by the engine; a family adds its `loss`."""

    Spec: ClassVar[type[ModelSpec]] = AutoencoderSpec
    codes_per_dim: ClassVar[int] = 1
    stacked_over: ClassVar[tuple[str, ...] | None] = ("latent_dim",)
    """Settings in which the members of a stack may differ, a buffer each; None for a family not stacked."""

    def __init__(self, spec: AutoencoderSpec, image_shape: ImageShape) -> None:
        super().__init__()
        backbone = BACKBONES[spec.backbone]
        settings = spec.backbone_settings()
        self.spec = spec
        self.image_shape = image_shape
        self.encoder, features = backbone.encoder(image_shape, **settings)
        self.to_code = nn.Linear(features, self.codes_per_dim * spec.latent_dim)
        # What the members of a stack may differ in is a number of each of them, as its weights are.
        for name in self.stacked_over or ():
            if name != "latent_dim":
                self.register_buffer(name, torch.tensor(float(spec.setting(name))), persistent=False)
        self.decoder = backbone.decoder(image_shape, spec.latent_dim, **settings)

    @classmethod
    def build(cls, spec: Any, image_shape: ImageShape) -> Self:
        """An untrained model."""
        return cls(spec, image_shape)

    @classmethod
    def stack_pattern(cls, spec: ModelSpec) -> ModelSpec | None:
        """All settings but those of `stacked_over`, where the backbone is worth stacking."""
        if cls.stacked_over is None or not BACKBONES[spec.setting("backbone")].stackable:
            return None
        alike = dict.fromkeys(cls.stacked_over, 0)
        if "latent_dim" in alike:
            alike["latent_dim"] = stack_width(spec.latent_dim)
        return spec.model_copy(update=alike)

    @property
    def width(self) -> int:
        """Dimensions of the code."""
        return self.spec.latent_dim

    def encode(self, x: Tensor) -> Posterior:
        """Images in [0, 1] `[B, C, H, W]` to codes `[B, D]`."""
        return Posterior(self.to_code(self.encoder(x)))

    def decode(self, z: Tensor) -> Tensor:
        """Codes `[B, D]` to images in [0, 1] `[B, C, H, W]`."""
        return torch.sigmoid(self.decoder(z).float())

    @abstractmethod
    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """The terms of the objective for a batch of float images."""

    def draws(self, batch_size: int) -> dict[str, Draw]:
        """None, for a deterministic objective."""
        del batch_size
        return {}

    def training_tensors(self, data: ImageData) -> tuple[Tensor, ...]:
        """The train images."""
        return (data.train.images,)

    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        """The images alone."""
        return (images,)

    def forward(self, step: Step) -> dict[str, Tensor]:
        """`loss` on a batch of uint8 images."""
        return self.loss(step.rows[0].float() / 255, step)


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Squared error summed over pixels, averaged over the batch: a scalar; both `[B, ...]`."""
    return (x - reconstruction.float()).square().flatten(1).sum(1).mean()
