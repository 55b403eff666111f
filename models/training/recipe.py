"""The training recipe: duration, learning rate and precision. It is part of a case's identity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1, strict=True)]


class Recipe(BaseModel):
    """AdamW and its schedule. Families with a closed form ignore it.

    `cosine` warms up linearly over the first tenth of the steps and falls to zero on a cosine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: Positive = 5
    batch_size: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_betas: tuple[Decay, Decay] = (0.9, 0.99)
    schedule: Literal["cosine", "constant"] = "cosine"
    precision: Literal["fp32", "bf16"] = "fp32"
