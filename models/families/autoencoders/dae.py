"""The denoising autoencoder reconstructs the clean image from a corrupted one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.models.families.autoencoders.gradient_autoencoder import (
    AutoencoderSpec,
    GradientAutoencoder,
    squared_error,
)
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Draw, TrainingStep


class DAESpec(AutoencoderSpec):
    """Settings of a denoising autoencoder."""

    always_labelled: ClassVar[tuple[str, ...]] = ("noise",)

    corruption: Literal["gaussian", "masking"] = "gaussian"
    """Normal noise added to every value, or whole pixels set to black."""
    noise: Annotated[float, Field(ge=0)] = 0.3
    """Standard deviation, in units of the pixel range [0, 1] (gaussian); share of the pixels (masking)."""

    @model_validator(mode="after")
    def _a_share_is_at_most_one(self) -> Self:
        if self.corruption == "masking" and self.noise > 1:
            raise LatentbenchError(
                f"noise is a share of the pixels for masking: at most 1, got {self.noise:g}"
            )
        return self


@FAMILIES.register("dae")
class DAE(GradientAutoencoder[DAESpec]):
    """Denoising autoencoder: ‖x − decode(encode(x̃))‖², summed over pixels, x̃ a corrupted x.

    x̃ = x + noise · ε with ε ~ N(0, I) and no clipping (gaussian: Vincent et al. 2010, section 3.5), or x
    with each pixel, all its channels together, set to 0 with probability `noise` (masking). The corruption
    is drawn anew at every step, and only in training: `encode` takes clean images.
    """

    Spec: ClassVar[type[ModelSpec]] = DAESpec
    stacked_over: ClassVar[tuple[str, ...] | None] = ("latent_dim", "noise")
    paper: ClassVar[str] = "Vincent et al. 2008, doi:10.1145/1390156.1390294; Vincent et al. 2010, JMLR 11"
    display: ClassVar[Display] = Display(30, "#661100", "v")

    noise: Tensor

    def __init__(self, spec: DAESpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        self.corruption = spec.corruption

    @override
    def draws(self, batch_size: int) -> dict[str, Draw]:
        """Draw the corruption: a normal number per value, or a uniform number per pixel."""
        if self.corruption == "gaussian":
            return {"corruption": Draw("normal", (batch_size, *self.image_shape))}
        return {"corruption": Draw("uniform", (batch_size, 1, *self.image_shape[1:]))}

    def corrupted(self, x: Tensor, step: TrainingStep) -> Tensor:
        """Corrupt images `[B, C, H, W]` as the encoder sees them in training."""
        draw = step.draws["corruption"]
        return x + self.noise * draw if self.corruption == "gaussian" else x * (draw >= self.noise)

    @override
    def loss(self, x: Tensor, step: TrainingStep) -> dict[str, Tensor]:
        error = squared_error(x, self.decode(self.encode(self.corrupted(x, step)).mean))
        return {"loss": error, "reconstruction": error}
