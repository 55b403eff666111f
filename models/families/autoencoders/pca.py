"""Principal component analysis: the optimal linear bottleneck, in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.family import FAMILIES, FittedFamily
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.seeds import generator
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Progress
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe

EXACT_PIXELS = 4096
CHUNK, CHUNK_VALUES = 5000, 4_000_000
"""Images that are computed at once: 5,000, or as many as have four million values."""
OVERSAMPLING = 10
ITERATIONS = 12


@FAMILIES.register("pca")
class PCA(FittedFamily[ModelSpec]):
    """Projection onto the leading eigenvectors of the pixel covariance; decoding clips to [0, 1]."""

    paper: ClassVar[str] = "Pearson 1901, doi:10.1080/14786440109462720"
    display: ClassVar[Display] = Display(10, "#5f6368", "s")

    mean: Tensor
    components: Tensor

    def __init__(self, spec: ModelSpec, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        pixels = math.prod(image_shape)
        if spec.latent_dim > pixels:
            raise LatentbenchError(
                f"pca: latent_dim must be ≤ {pixels}, the number of pixels, got {spec.latent_dim}"
            )
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("components", torch.zeros(spec.latent_dim, pixels))

    @override
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Fit in float64 over chunks of the train images; `recipe` has no effect.

        Up to 4,096 pixels the eigenvectors of the covariance are exact; beyond that they come from subspace
        iteration (Halko, Martinsson & Tropp 2011, arXiv:0909.4061), whose memory is O(pixels × D).
        """
        chunk = max(1, min(CHUNK, CHUNK_VALUES // self.mean.numel()))
        chunks = data.train.images.flatten(1).split(chunk)
        self.mean.copy_(sum_over(chunks, device, lambda x: x.sum(0)) / len(data.train))
        centre = self.mean.double().to(device)
        if self.mean.numel() <= EXACT_PIXELS:
            covariance = sum_over(chunks, device, lambda x: (x - centre).T @ (x - centre))
            vectors = torch.linalg.eigh(covariance)[1].flip(1)
            progress(1, 1)
        else:
            vectors = _subspace_iteration(
                lambda q: sum_over(chunks, device, lambda x: (x - centre).T @ ((x - centre) @ q)),
                start=torch.randn(
                    self.mean.numel(),
                    len(self.components) + OVERSAMPLING,
                    generator=generator(seed, "subspace"),
                    dtype=torch.float64,
                ).to(device),
                progress=progress,
            )
        self.components.copy_(with_fixed_signs(vectors.T[: len(self.components)]))
        return History()

    def encode(self, x: Tensor) -> Posterior:
        """Map images `[B, C, H, W]` to scores `[B, D]`, in order of variance."""
        return Posterior((x.flatten(1) - self.mean) @ self.components.T)

    def decode(self, z: Tensor) -> Tensor:
        """Map scores `[B, D]` to images in [0, 1] `[B, C, H, W]`."""
        pixels: Tensor = (z @ self.components + self.mean).clamp(0, 1)
        return pixels.reshape(-1, *self.image_shape)


def sum_over(chunks: Sequence[Tensor], device: torch.device, term: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum `term` over chunks of uint8 images, which it gets as float64 in [0, 1]."""
    total = term(chunks[0].to(device).double() / 255)
    for chunk in chunks[1:]:
        total += term(chunk.to(device).double() / 255)
    return total


def _subspace_iteration(multiply: Callable[[Tensor], Tensor], *, start: Tensor, progress: Progress) -> Tensor:
    """Compute the leading eigenvectors, in order, of the symmetric matrix that `multiply` applies."""
    basis = torch.linalg.qr(start)[0]
    for iteration in range(ITERATIONS):
        basis = torch.linalg.qr(multiply(basis))[0]
        progress(iteration + 1, ITERATIONS)
    rotation = torch.linalg.eigh(basis.T @ multiply(basis))[1].flip(1)
    vectors: Tensor = basis @ rotation
    return vectors


def with_fixed_signs(components: Tensor) -> Tensor:
    """Make each eigenvector's largest entry positive: its sign is arbitrary, and machines must agree."""
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return components * largest.sign()
