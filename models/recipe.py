"""The training recipe: how long, how fast, in what precision. Part of a case's identity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1, strict=True)]


class Recipe(BaseModel):
    """AdamW on a one-cycle or constant schedule. Families with a closed form ignore it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: Positive = 5
    batch_size: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    precision: Literal["fp32", "bf16"] = "fp32"
