"""ModelSpec: everything that says which compressor is meant, and nothing else."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Likelihood = Literal["gaussian", "bernoulli"]


class ModelSpec(BaseModel):
    """One member of the zoo. Frozen, hashable, JSON both ways; unknown keys are refused.

    A setting that a family does not use stays None; `models.registry.complete` fills a family's own
    defaults and refuses a setting it would ignore, so that two spellings of one model never differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    family: str
    latent_dim: Annotated[int, Field(ge=1, strict=True)]
    backbone: str | None = None
    hidden: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Width of the backbone: hidden units (mlp), channels of the first block (conv)."""
    beta: Annotated[float, Field(ge=0)] | None = None
    """Weight of the KL term."""
    likelihood: Likelihood | None = None
    sigma: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of a Gaussian likelihood, in units of the pixel range [0, 1]."""

    @field_validator("beta", "sigma")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value

    @property
    def label(self) -> str:
        """The short name used in tables and pictures, such as `vae-16 β=4`."""
        name = f"{self.family}-{self.latent_dim}"
        if self.backbone not in (None, "mlp"):
            name += f" {self.backbone}"
        if self.beta is not None:
            name += f" β={self.beta:g}"
        if self.likelihood == "bernoulli":
            name += " bernoulli"
        return name
