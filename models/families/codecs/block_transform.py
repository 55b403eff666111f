"""Linear codes of blocks: DCT, Haar wavelets, and principal components of patches.

An image is cut into square blocks. Each is projected onto K orthonormal vectors, so that the code is a grid
`(K, H / block, W / block)`. By Parseval's theorem the squared error of a block is the energy of the
coefficients that were dropped, as long as no decoded pixel leaves [0, 1] (those are clipped).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.families.autoencoders.pca import sum_over, with_fixed_signs
from latentbench.models.families.codecs.weight_free import WeightFree, WeightFreeSpec, with_grid
from latentbench.models.family import FAMILIES, needs_train_images
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.resolver import Resolver
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Progress
from latentbench.models.training.history import History
from latentbench.models.training.recipe import Recipe

CHUNK_VALUES = 4_000_000
LARGEST_BLOCK = 32


class BlockSpec(WeightFreeSpec):
    """Settings of a code of blocks."""

    block: Annotated[int, Field(ge=1, le=LARGEST_BLOCK, strict=True)] = 8
    """Pixels along the side of a block."""


class TransformSpec(BlockSpec):
    """Settings of a fixed transform of blocks."""

    coefficients: Annotated[int, Field(ge=1, strict=True)] | None = None
    """How many coefficients of a block and colour channel are kept, low frequencies first; all if None."""


class PatchSpec(BlockSpec):
    """Settings of principal components of patches; `latent_dim` is how many are kept."""

    latent_dim: Annotated[int, Field(ge=1, strict=True)]


BlockSpecT = TypeVar("BlockSpecT", bound=BlockSpec)


def patches(images: Tensor, block: int) -> Tensor:
    """Cut images `[N, C, H, W]` into blocks: `[N, C · block², H / block, W / block]`, channel by channel."""
    blocks: Tensor = pixel_unshuffle(images, block)
    return blocks


class BlockTransform(WeightFree[BlockSpecT]):
    """Projection of every block onto K orthonormal vectors."""

    mean: Tensor
    """What is subtracted from a block, `[C · block²]`."""
    vectors: Tensor
    """The orthonormal vectors, `[K, C · block²]`."""

    def __init__(self, spec: BlockSpecT, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        self.register_buffer("mean", torch.zeros(image_shape[0] * spec.block**2))
        self.register_buffer("vectors", self.initial_vectors())

    @abstractmethod
    def initial_vectors(self) -> Tensor:
        """Return the orthonormal vectors `[K, C · block²]`, or zeros if they are computed from images."""

    @override
    @classmethod
    def resolve(cls, spec: BlockSpecT, data: ImageData, resolver: Resolver) -> BlockSpecT:
        channels, *sides = data.image_shape
        if any(side % spec.block for side in sides):
            allowed = [size for size in cls.block_sizes() if math.gcd(*sides) % size == 0]
            raise LatentbenchError(
                f"{spec.family}: images of {sides[0]}×{sides[1]} px cannot be cut into blocks of "
                f"{spec.block} px; allowed: block {', '.join(map(str, allowed))}"
            )
        width = cls.width(spec, channels)
        if width > channels * spec.block**2:
            raise LatentbenchError(
                f"{spec.family}: a block of {channels}×{spec.block}×{spec.block} has "
                f"{channels * spec.block**2} coefficients, got {width}"
            )
        return with_grid(spec, (width, sides[0] // spec.block, sides[1] // spec.block))

    @classmethod
    def block_sizes(cls) -> list[int]:
        """Return the sides of blocks that the transform has vectors for."""
        return list(range(1, LARGEST_BLOCK + 1))

    @classmethod
    @abstractmethod
    def width(cls, spec: BlockSpecT, channels: int) -> int:
        """Return the number of coefficients of a block that are kept."""

    def encode(self, x: Tensor) -> Posterior:
        """Map images in [0, 1] `[B, C, H, W]` to coefficients `[B, K, h, w]`."""
        blocks = patches(x, self.spec.block) - self.mean[:, None, None]
        return Posterior(torch.einsum("nphw,kp->nkhw", blocks, self.vectors))

    def decode(self, z: Tensor) -> Tensor:
        """Map coefficients `[B, K, h, w]` to images in [0, 1] `[B, C, H, W]`; pixels are clipped."""
        return self.synthesised(z).clamp(0, 1)

    def synthesised(self, z: Tensor) -> Tensor:
        """Map coefficients `[B, K, h, w]` to pixels `[B, C, H, W]` that may leave [0, 1]."""
        blocks = torch.einsum("nkhw,kp->nphw", z, self.vectors) + self.mean[:, None, None]
        images: Tensor = pixel_shuffle(blocks, self.spec.block)
        return images


class FixedTransform(BlockTransform[TransformSpec]):
    """A transform of each colour channel by itself, with the same vectors for all images."""

    Spec: ClassVar[type[ModelSpec]] = TransformSpec

    @classmethod
    @abstractmethod
    def along_a_side(cls, block: int) -> tuple[Tensor, Tensor]:
        """Return orthonormal vectors along one side, float64 `[block, block]`, and the frequency of each."""

    @override
    @classmethod
    def width(cls, spec: TransformSpec, channels: int) -> int:
        return channels * (spec.block**2 if spec.coefficients is None else spec.coefficients)

    @override
    def initial_vectors(self) -> Tensor:
        channels, block = self.image_shape[0], self.spec.block
        side, frequency = self.along_a_side(block)
        plane = torch.einsum("ij,kl->ikjl", side, side).reshape(block**2, block**2)
        # Low frequencies first: by the sum of both, then by the vertical one, as in a zigzag.
        order = (frequency[:, None] + frequency + frequency[:, None] / 1e3).flatten().argsort(stable=True)
        kept = plane[order[: self.spec.coefficients]]
        vectors: Tensor = torch.block_diag(*[kept] * channels)
        return vectors.float()


@FAMILIES.register("dct")
class DCT(FixedTransform):
    """Discrete cosine transform of blocks, as in JPEG, with the first `coefficients` of each."""

    paper: ClassVar[str] = "Ahmed, Natarajan & Rao 1974, doi:10.1109/T-C.1974.223784"
    display: ClassVar[Display] = Display(9, "#17becf", "o")

    @override
    @classmethod
    def along_a_side(cls, block: int) -> tuple[Tensor, Tensor]:
        frequency = torch.arange(block, dtype=torch.float64)
        waves = torch.cos(math.pi / block * frequency[:, None] * (frequency + 0.5))
        waves[0] /= math.sqrt(2)
        return waves * math.sqrt(2 / block), frequency


@FAMILIES.register("haar")
class Haar(FixedTransform):
    """Haar wavelets of blocks, coarse scales first; the side of a block is a power of two."""

    paper: ClassVar[str] = "Haar 1910, doi:10.1007/BF01456326"
    display: ClassVar[Display] = Display(9, "#7f7f7f", "p")

    @override
    @classmethod
    def resolve(cls, spec: TransformSpec, data: ImageData, resolver: Resolver) -> TransformSpec:
        if spec.block not in cls.block_sizes():
            raise LatentbenchError(f"haar: block must be a power of two, got {spec.block}")
        return super().resolve(spec, data, resolver)

    @override
    @classmethod
    def block_sizes(cls) -> list[int]:
        return [size for size in super().block_sizes() if size & (size - 1) == 0]

    @override
    @classmethod
    def along_a_side(cls, block: int) -> tuple[Tensor, Tensor]:
        vectors, scale = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        while len(vectors) < block:
            coarse = torch.kron(vectors, torch.tensor([[1.0, 1.0]], dtype=torch.float64))
            fine = torch.kron(
                torch.eye(len(vectors), dtype=torch.float64),
                torch.tensor([[1.0, -1.0]], dtype=torch.float64),
            )
            scale = torch.cat([scale, (scale.max() + 1).expand(len(vectors))])
            vectors = torch.cat([coarse, fine]) / math.sqrt(2)
        return vectors, scale


@FAMILIES.register("patch_pca")
class PatchPCA(BlockTransform[PatchSpec]):
    """Principal components of patches: the best linear code of blocks, in closed form."""

    Spec: ClassVar[type[ModelSpec]] = PatchSpec
    paper: ClassVar[str] = "Pearson 1901, doi:10.1080/14786440109462720"
    display: ClassVar[Display] = Display(11, "#4a5568", "D")

    @override
    @classmethod
    def resolve(cls, spec: PatchSpec, data: ImageData, resolver: Resolver) -> PatchSpec:
        return super().resolve(needs_train_images(spec, data), data, resolver)

    @override
    @classmethod
    def width(cls, spec: PatchSpec, channels: int) -> int:
        return spec.latent_dim

    @override
    def initial_vectors(self) -> Tensor:
        return torch.zeros(self.spec.latent_dim, self.image_shape[0] * self.spec.block**2)

    @override
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Compute the eigenvectors of the covariance of all patches of the train images, in float64."""
        chunks = data.train.images.split(max(1, CHUNK_VALUES // math.prod(self.image_shape)))
        count = len(data.train) * math.prod(self.image_shape) // self.mean.numel()
        self.mean.copy_(sum_over(chunks, device, lambda x: self._rows(x).sum(0)) / count)
        centre = self.mean.double().to(device)

        def scatter(x: Tensor) -> Tensor:
            rows = self._rows(x) - centre
            return rows.T @ rows

        vectors = torch.linalg.eigh(sum_over(chunks, device, scatter))[1].flip(1)
        self.vectors.copy_(with_fixed_signs(vectors.T[: len(self.vectors)]))
        progress(1, 1)
        return History()

    def _rows(self, images: Tensor) -> Tensor:
        """Return all patches of images as rows `[N · h · w, C · block²]`."""
        return patches(images, self.spec.block).permute(0, 2, 3, 1).flatten(0, 2)
