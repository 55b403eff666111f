"""SigLIP: each pair of an image and a caption is a binary classification."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from latentbench.models.families.image_text.clip import ContrastiveFamily
from latentbench.models.families.image_text.contrastive import pairwise_sigmoid
from latentbench.models.family import FAMILIES
from latentbench.models.spec import Display


@FAMILIES.register("siglip")
class SigLIP(ContrastiveFamily):
    """SigLIP: images and captions in one space of `latent_dim` dimensions, by the pairwise sigmoid loss.

    Temperature and bias start as in the paper: at 1 / 10 and −10.
    """

    paper: ClassVar[str] = "Zhai et al. 2023, arXiv:2303.15343"
    display: ClassVar[Display] = Display(120, "#8c6d31", "h")
    initial_scales: ClassVar[dict[str, float]] = {"init_logit_scale": math.log(10), "init_logit_bias": -10.0}

    @override
    def contrast(self, image: Tensor, text: Tensor, caption: Tensor) -> dict[str, Tensor]:
        bias = self.towers.logit_bias
        return {
            "loss": pairwise_sigmoid(self.scale * image @ text.T + bias, caption),
            "bias": bias,
        }
