"""The budget of a flow: its network, its training, and the steps of sampling."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from latentbench.models.codes import Shape
from latentbench.models.training.recipe import Positive, Recipe

Share = Annotated[float, Field(ge=0, lt=1)]


class FlowRecipe(BaseModel):
    """Settings of a flow; part of its identity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    network: Literal["by shape", "mlp"] = "by shape"
    """`mlp` has a residual MLP for grids too, on their values as one vector."""
    width: Positive = 256
    """Hidden units of the residual MLP; channels of the first level of the U-Net."""
    blocks: Positive = 3
    """Residual blocks of the MLP."""
    steps: Positive = 3000
    batch_size: Positive = 512
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    precision: Literal["fp32", "bf16"] = "bf16"
    """The precision of matrix products in training, where the device has it; weights and samples are float32.

    A processor without arithmetic for bfloat16 emulates it, 2 to 10 times as slowly as it multiplies float32.
    """
    average: Share = 0.995
    """The decay per step of the moving average of the weights, which samples are drawn with."""
    sampling_steps: Positive = 32
    """Steps of Heun's method; the network is evaluated twice in each."""

    def training_on(self, device: torch.device) -> Recipe:
        """Return the settings for the training engine, which is given the number of steps separately."""
        return Recipe(
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            adam_betas=(0.9, 0.999),
            precision=self.precision if multiplies_bf16(device) else "fp32",
        )


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether a device has arithmetic for bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


VECTORS = FlowRecipe()
GRIDS = FlowRecipe(width=32, batch_size=128)


def recipe_for(shape: Shape) -> FlowRecipe:
    """Return the budget for codes of a shape: a grid's network does more work for each example.

    >>> recipe_for((16,)).batch_size, recipe_for((4, 8, 8)).batch_size
    (512, 128)
    """
    return GRIDS if len(shape) == 3 else VECTORS
