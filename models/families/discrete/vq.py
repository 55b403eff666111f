"""The VQ-VAE: each part of the code is replaced by the nearest vector of a learned codebook."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from latentbench.data.errors import LatentbenchError
from latentbench.models.families.autoencoders.gradient_autoencoder import (
    AutoencoderSpec,
    Count,
    squared_error,
)
from latentbench.models.families.discrete.discrete_autoencoder import (
    DiscreteCodeAutoencoder,
    straight_through,
)
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.spec import ModelSpec
from latentbench.models.training.engine import Draw, Step

DEAD = 0.1
"""Share of the mean count below which a code is dead: it is used so much less than codes are on average."""
REVIVED = 0.2
"""Share of the mean count that a revived code begins with: little, so that it soon follows its vectors,
and enough for some steps of use to show (70, at the usual decay) before it would be dead again."""


class VQSpec(AutoencoderSpec):
    """Settings of a VQ-VAE."""

    code_dim: Count = 2
    """Numbers that are quantised together: the code has latent_dim / code_dim positions."""
    codes: Annotated[int, Field(ge=2, strict=True)] = 512
    """Vectors of the codebook, which all positions share."""
    commitment: Annotated[float, Field(ge=0)] = 0.25
    """Weight of the squared distance of the encoder's numbers to their code."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """What a moving average keeps of itself at each step."""

    @model_validator(mode="after")
    def _whole_positions(self) -> Self:
        if self.latent_dim % self.code_dim:
            raise LatentbenchError(
                f"latent_dim must be divisible by code_dim = {self.code_dim}, got {self.latent_dim}"
            )
        return self


@FAMILIES.register("vq")
class VQ(DiscreteCodeAutoencoder):
    """Squared error + commitment · ‖z − code‖², both summed, averaged over the batch.

    The codebook is no parameter: each vector is the moving average of the encoder's outputs that it was
    nearest to (appendix A.1 of the paper; Razavi et al. 2019, arXiv:1906.00446). A code that is hardly
    used is moved to a random output of the batch (Dhariwal et al. 2020, arXiv:2005.00341); at the first
    step that is all of them, which is how the codebook begins.
    """

    Spec: ClassVar[type[ModelSpec]] = VQSpec
    stacked_over: ClassVar[tuple[str, ...] | None] = None
    paper: ClassVar[str] = "van den Oord et al. 2017, arXiv:1711.00937"

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, spec: VQSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        self.code_dim, self.decay, self.commitment = spec.code_dim, spec.decay, spec.commitment
        self.register_buffer("codebook", torch.randn(spec.codes, spec.code_dim))
        self.register_buffer("counts", torch.zeros(spec.codes))
        self.register_buffer("sums", torch.zeros(spec.codes, spec.code_dim))

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """The codebook's size, at every position."""
        return (self.width // self.code_dim) * (len(self.codebook),)

    def indices(self, z: Tensor) -> Tensor:
        """The nearest vector at each position of points `[B, D]`, int64 `[B, P]`; the first of equal ones."""
        vectors = z.detach().float().reshape(-1, self.code_dim)
        # From differences, not by a matrix product: a code must be nearest to itself.
        distances = torch.cdist(vectors, self.codebook, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.argmin(1).reshape(len(z), -1)

    def codes(self, indices: Tensor) -> Tensor:
        """The codebook's vectors at positions `[B, P]`, one after another: `[B, D]`."""
        return self.codebook[indices].flatten(1)

    def draws(self, batch_size: int) -> dict[str, Draw]:
        """What puts the encoder's outputs in the order in which dead codes are moved to them."""
        return {"revival": Draw("uniform", (batch_size * len(self.code_sizes),))}

    def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
        """The objective and its terms; the codebook is moved on the way."""
        z = self.continuous(x)
        vectors = z.detach().reshape(-1, self.code_dim)
        revived = self.revive(vectors, step.draws["revival"])
        chosen = self.indices(z)
        code = self.codes(chosen)
        # Not by `decode`, which would look for the nearest code once more.
        image = torch.sigmoid(self.decoder(straight_through(code, z)).float())
        reconstruction = squared_error(x, image)
        commitment = squared_error(z, code)
        share = self.follow(vectors, chosen.flatten()) / len(vectors)
        return {
            "loss": reconstruction + self.commitment * commitment,
            "reconstruction": reconstruction,
            "commitment": commitment,
            "perplexity": (-torch.xlogy(share, share).sum()).exp(),
            "revived": revived,
        }

    @torch.no_grad()
    def revive(self, vectors: Tensor, uniform: Tensor) -> Tensor:
        """Move every dead code to a vector of its own among `[N, code_dim]`; how many were, a scalar.

        `uniform` `[N]` in [0, 1) decides which. Where there are more dead codes than vectors, the others
        wait for the next step.
        """
        mean_count = len(vectors) / len(self.codebook)
        dead = self.counts < DEAD * mean_count
        place = dead.cumsum(0) - 1
        dead &= place < len(vectors)
        moved_to = vectors[uniform.argsort()[place.clamp(0, len(vectors) - 1)]]
        self.codebook.copy_(torch.where(dead.unsqueeze(1), moved_to, self.codebook))
        self.counts.masked_fill_(dead, REVIVED * mean_count)
        self.sums.copy_(torch.where(dead.unsqueeze(1), REVIVED * mean_count * moved_to, self.sums))
        return dead.sum().float()

    @torch.no_grad()
    def follow(self, vectors: Tensor, chosen: Tensor) -> Tensor:
        """Move every code towards the vectors `[N, code_dim]` that chose it, `[N]`; each one's count, `[K]`.

        counts ← decay · counts + (1 − decay) · n, likewise the sums; a code is its sum over its count.
        """
        # A product, since a scattered sum on a GPU adds in no fixed order; never in half precision.
        with torch.autocast(vectors.device.type, enabled=False):
            assigned = F.one_hot(chosen, len(self.codebook)).float()
            n, total = assigned.sum(0), assigned.T @ vectors
        self.counts.lerp_(n, 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        mean = self.sums / self.counts.unsqueeze(1)
        self.codebook.copy_(torch.where(self.counts.unsqueeze(1) > 0, mean, self.codebook))
        return n
