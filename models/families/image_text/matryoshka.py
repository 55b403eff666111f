"""A CLIP whose leading dimensions form smaller CLIPs: one model for several widths."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from latentbench.models.families.image_text.clip import ContrastiveFamily
from latentbench.models.families.image_text.contrastive import symmetric_cross_entropy
from latentbench.models.family import FAMILIES
from latentbench.models.spec import Display

NARROWEST = 4


def nested_widths(width: int) -> tuple[int, ...]:
    """Return the powers of two from 4 up to the width, and the width itself.

    >>> nested_widths(64), nested_widths(20), nested_widths(3)
    ((4, 8, 16, 32, 64), (4, 8, 16, 20), (3,))
    """
    powers = [NARROWEST * 2**step for step in range(width.bit_length()) if NARROWEST * 2**step < width]
    return (*powers, width)


@FAMILIES.register("matryoshka")
class MatryoshkaCLIP(ContrastiveFamily):
    """Nested CLIP: the first 4, 8, 16 … of its `latent_dim` dimensions are trained as embeddings too.

    The loss is the mean of CLIP's loss over the widths, each on the leading dimensions, normalised again.
    """

    paper: ClassVar[str] = "Kusupati et al. 2022, arXiv:2205.13147"
    display: ClassVar[Display] = Display(130, "#aa4499", "H")

    @override
    def contrast(self, image: Tensor, text: Tensor, caption: Tensor) -> dict[str, Tensor]:
        """Return the mean loss, and the loss of each width as `loss_at_WIDTH`."""
        losses = {}
        for width in nested_widths(self.width):
            cut_image, cut_text = (F.normalize(points[:, :width], dim=1) for points in (image, text))
            both = symmetric_cross_entropy(self.scale * cut_image @ cut_text.T, caption)
            losses[f"loss_at_{width}"] = (both[0] + both[1]) / 2
        return {"loss": torch.stack(list(losses.values())).mean(), **losses}
