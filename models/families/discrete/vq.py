"""The VQ-VAE replaces each part of the code by the nearest vector of a learned codebook."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import override

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
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Draw, TrainingStep

DEAD = 0.1
"""A code is dead if its count is below this fraction of the mean count."""
REVIVED = 0.2
"""The fraction of the mean count that a revived code starts with: small, so that the code soon follows its
vectors, and large enough to last 70 steps (at the default decay) before the code is dead again."""


class VQSpec(AutoencoderSpec):
    """Settings of a VQ-VAE."""

    code_dim: Count = 2
    """The number of dimensions quantised together: the code has latent_dim / code_dim positions."""
    codes: Annotated[int, Field(ge=2, strict=True)] = 512
    """The number of vectors in the codebook, which all positions share."""
    commitment: Annotated[float, Field(ge=0)] = 0.25
    """Weight of the squared distance between the encoder's output and its code."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """The fraction of its value that a moving average keeps at each step."""

    @model_validator(mode="after")
    def _whole_positions(self) -> Self:
        if self.latent_dim % self.code_dim:
            raise LatentbenchError(
                f"latent_dim must be divisible by code_dim = {self.code_dim}, got {self.latent_dim}"
            )
        return self


@FAMILIES.register("vq")
class VQ(DiscreteCodeAutoencoder[VQSpec]):
    """Squared error + commitment · ‖z − code‖², both summed, averaged over the batch.

    The codebook is not a parameter: each vector is the moving average of the encoder's outputs nearest to it
    (appendix A.1 of the paper; Razavi et al. 2019, arXiv:1906.00446). A code that is rarely used is moved to
    a random output of the batch (Dhariwal et al. 2020, arXiv:2005.00341); the first step moves all of them,
    which initialises the codebook.
    """

    Spec: ClassVar[type[ModelSpec]] = VQSpec
    stacked_over: ClassVar[tuple[str, ...] | None] = None
    paper: ClassVar[str] = "van den Oord et al. 2017, arXiv:1711.00937"
    display: ClassVar[Display] = Display(90, "#004d40", ">")

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, spec: VQSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        self.code_dim, self.decay, self.commitment = spec.code_dim, spec.decay, spec.commitment
        self.register_buffer("codebook", torch.randn(spec.codes, spec.code_dim))
        self.register_buffer("counts", torch.zeros(spec.codes))
        self.register_buffer("sums", torch.zeros(spec.codes, spec.code_dim))

    @override
    @property
    def code_sizes(self) -> tuple[int, ...]:
        return (self.width // self.code_dim) * (len(self.codebook),)

    @override
    def indices(self, z: Tensor) -> Tensor:
        """Return the nearest vector at each position of points `[B, D]`, int64 `[B, P]`; first of ties."""
        vectors = z.detach().float().reshape(-1, self.code_dim)
        # A matrix product would be less exact, and a code must be nearest to itself.
        distances = torch.cdist(vectors, self.codebook, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.argmin(1).reshape(len(z), -1)

    @override
    def codes(self, indices: Tensor) -> Tensor:
        return self.codebook[indices].flatten(1)

    @override
    def draws(self, batch_size: int) -> dict[str, Draw]:
        """Draw the order of the encoder's outputs in which dead codes are moved to them."""
        return {"revival": Draw("uniform", (batch_size * len(self.code_sizes),))}

    @override
    def loss(self, x: Tensor, step: TrainingStep) -> dict[str, Tensor]:
        """Return the objective and its terms, and update the codebook."""
        z = self.continuous(x)
        vectors = z.detach().reshape(-1, self.code_dim)
        revived = self.revive(vectors, step.draws["revival"])
        chosen = self.indices(z)
        code = self.codes(chosen)
        # `decode` would search for the nearest code again.
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
        """Move each dead code to a different vector of `[N, code_dim]`; return how many moved, a scalar.

        `uniform` `[N]` in [0, 1) decides which vectors. If there are more dead codes than vectors, the rest
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
        """Move each code towards the vectors `[N, code_dim]` that chose it, `[N]`; return counts n, `[K]`.

        counts ← decay · counts + (1 − decay) · n, likewise the sums; a code is its sum over its count.
        """
        # A scattered sum on a GPU is not deterministic; half precision is too coarse.
        with torch.autocast(vectors.device.type, enabled=False):
            assigned = F.one_hot(chosen, len(self.codebook)).float()
            n, total = assigned.sum(0), assigned.T @ vectors
        self.counts.lerp_(n, 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        mean = self.sums / self.counts.unsqueeze(1)
        self.codebook.copy_(torch.where(self.counts.unsqueeze(1) > 0, mean, self.codebook))
        return n
