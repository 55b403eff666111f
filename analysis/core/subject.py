"""The subject of an analysis: one trained model on one data set, its codes and images computed once.

Every property is computed at first use and kept, so no analysis encodes the same images twice and
none trains a zoo model. `can_decode` is false for a model without a decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from latentbench.analysis.core.data_context import (
    BATCH,
    DataContext,
    batch_size,
    in_batches,
    shard_of,
    to_float,
)
from latentbench.analysis.core.freed_memory import tidied
from latentbench.analysis.core.metric import Unmeasurable
from latentbench.analysis.core.test_pass import ImageErrors, JoinedCodes, TestPass, kept_codes
from latentbench.analysis.image_similarity import check_images
from latentbench.data.images import ImageData
from latentbench.data.storage.memo import Memo
from latentbench.data.storage.temporary_file import room_for_codes
from latentbench.models.codes import Shape, one_position, pooled
from latentbench.models.protocols import (
    Autoencoder,
    DiscreteAutoencoder,
    Encoder,
    ImageCodec,
    Model,
    Posterior,
)
from latentbench.models.seeds import generator
from latentbench.models.training.history import History

TRAIN_CODES = 30_000
"""The number of train images whose codes describe the latent space: as many as any analysis uses."""
DRAWN = 256
"""Codes of many positions that are drawn at once; a multiple of 16 draws what one call for all would."""

NO_DECODER = "no decoder"
"""The reason of a metric of decoded images for a model that cannot decode."""
NO_CODE = "a codec has no code vector"
"""The reason of a metric of codes for a codec."""


@dataclass(eq=False)
class Subject(Memo):
    """A model to be measured. `seed` determines every draw made while measuring."""

    model: Model
    context: DataContext
    seed: int
    train_step: Callable[[Tensor], None] | None = None
    """One step of training on a batch of uint8 images, for throughput; None for a model without training."""
    history: History = field(default_factory=History)
    """The history of the model's training; empty for a closed form and for a third-party model."""

    @property
    def data(self) -> ImageData:
        """The data set."""
        return self.context.data

    @property
    def can_decode(self) -> bool:
        """True if the model can turn codes, or files, back into images."""
        return isinstance(self.model, Autoencoder | ImageCodec)

    @property
    def is_stochastic(self) -> bool:
        """True if q(z | x) has a spread."""
        return self.test_codes.log_var is not None

    @property
    def is_discrete(self) -> bool:
        """True if the code is a choice from finitely many values."""
        return isinstance(self.model, DiscreteAutoencoder)

    @property
    def has_prior(self) -> bool:
        """True if codes should follow N(0, I): stochastic codes, and those of a `normal_prior` model."""
        return self.is_stochastic or bool(getattr(self.model, "normal_prior", False))

    def generator(self, purpose: str) -> Generator:
        """Return a CPU generator of this subject's seed for one purpose; the same for every model."""
        return generator(self.seed, "measure", purpose)

    def encode(self, images: Tensor) -> Posterior:
        """Encode uint8 images `[N, C, H, W]` to q(z | x), on the CPU, in batches.

        Raises Unmeasurable for a codec, as does everything that needs codes.
        """
        codes = JoinedCodes(len(images))
        for batch in in_batches(images):
            codes.add(self.posterior(to_float(batch)))
        assert codes.joined is not None
        return codes.joined

    @torch.inference_mode()
    def posterior(self, x: Tensor) -> Posterior:
        """Encode float images in [0, 1] `[B, C, H, W]` to q(z | x), on the CPU."""
        if isinstance(self.model, ImageCodec):
            raise Unmeasurable(NO_CODE)
        x = x.to(self.context.device)
        found = (
            self.model.encode(x) if isinstance(self.model, Encoder) else Posterior(self.model.encode_image(x))
        )
        return found.map(lambda values: values.float().cpu())

    def vectors(self, images: Tensor, of: Callable[[Tensor], Tensor] = pooled) -> Tensor:
        """Encode each of uint8 images `[N, C, H, W]` as one vector, on the CPU: `[N, D]`.

        `of` makes the vectors from codes; by default they are the means over the positions of a grid or
        tokens, `[N, C]`.
        """
        return torch.cat([of(self.posterior(to_float(batch)).mean) for batch in in_batches(images)])

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes `[N, *shape]` to float images in [0, 1] `[N, C, H, W]`, on the CPU.

        Use `decoded` for many images. Raises Unmeasurable for a model without a decoder.
        """
        return torch.cat(list(self.decoded(codes)))

    def decoded(self, codes: Tensor) -> Iterator[Tensor]:
        """Decode codes `[N, *shape]` to batches of float images in [0, 1] `[B, C, H, W]`, on the CPU.

        Raises Unmeasurable for a model without a decoder of codes.
        """
        if isinstance(self.model, ImageCodec):
            raise Unmeasurable(NO_CODE)
        if not isinstance(self.model, Autoencoder):
            raise Unmeasurable(NO_DECODER)
        shape = self.data.image_shape
        for batch in tidied(codes.split(batch_size(shape)), shape):
            with torch.inference_mode():
                images = self.model.decode(batch.to(self.context.device)).float().cpu()
            yield images

    def reconstructed(self, images: Tensor) -> Tensor:
        """Return the reconstructions of uint8 images `[N, C, H, W]`, float in [0, 1], on the CPU."""
        return torch.cat([self._reconstructed(to_float(batch))[1] for batch in in_batches(images)])

    def _reconstructed(self, x: Tensor) -> tuple[Posterior | None, Tensor]:
        """Return q(z | x), None for a codec, and the images decode(E[z | x])."""
        if isinstance(self.model, ImageCodec):
            return None, self.model.decompress(self.model.compress(x))
        posterior = self.posterior(x)
        return posterior, self.decode(posterior.mean)

    @torch.inference_mode()
    def indices(self, codes: Tensor) -> Tensor:
        """Convert discrete codes `[N, D]` to values by position, int64 `[N, P]`, on the CPU, in batches.

        Raises TypeError for a model whose code is not discrete.
        """
        if not isinstance(self.model, DiscreteAutoencoder):
            raise TypeError(f"{type(self.model).__name__} has no discrete code")
        batches = [self.model.indices(z.to(self.context.device)) for z in codes.split(BATCH)]
        return torch.cat([batch.cpu() for batch in batches])

    @cached_property
    def tested(self) -> TestPass:
        """The one pass over all test images: codes, and errors of the reconstructions decode(E[z | x])."""
        return self.pass_over()

    @property
    def encoded(self) -> TestPass:
        """The pass over all test images, without the reconstructions unless they are measured already."""
        return self.tested if "tested" in vars(self) or not self.can_decode else self._encoded

    @cached_property
    def _encoded(self) -> TestPass:
        return self.pass_over(decode=False)

    @torch.inference_mode()
    def pass_over(self, shard: int = 0, shards: int = 1, *, decode: bool = True) -> TestPass:
        """Return the pass over one of several shards of the test images, each of whole batches.

        `TestPass.joined` of all shards, in order, is the pass over all test images, to the last digit.
        Raises ValueError for a shard without images.
        """
        size = batch_size(self.data.image_shape)
        own = shard_of(len(self.data.test), size, shard, shards)
        if not own:
            raise ValueError(f"shard {shard} of {shards} has none of the batches of test images")
        passes: list[TestPass] = []
        codes = JoinedCodes(len(own), kept_codes)
        decode = decode and self.can_decode
        for images in in_batches(self.data.test.images[own.start : own.stop]):
            sound = not passes or passes[-1].problem is None
            first = own.start + sum(each.count for each in passes)
            found = self._pass_over_batch(to_float(images), first, decode=decode and sound)
            codes.add(found.codes)
            passes.append(replace(found, codes=None))
        return replace(TestPass.joined(passes), codes=codes.joined)

    def _pass_over_batch(self, x: Tensor, first: int, *, decode: bool) -> TestPass:
        if not decode:
            return TestPass.of(self.posterior(x), count=len(x))
        posterior, images = self._reconstructed(x)
        try:
            check_images(x, images)
        except ValueError as error:
            return TestPass.of(posterior, problem=f"reconstructions: {error}", count=len(x))
        view = self.context.view if self.context.judges else None
        errors = replace(
            ImageErrors.of(x, images, view),
            sums=self.context.sums(images, first),
            distances=self.context.distances(x, images),
        )
        return TestPass.of(posterior, errors, count=len(x))

    @cached_property
    def train_codes(self) -> Posterior:
        """The posterior q(z | x) of the first 30,000 train images, or of fewer if codes are large."""
        kept = min(TRAIN_CODES, kept_codes(self.code_shape))
        if self.data.test_only:
            return self.test_codes.part(slice(kept))
        return self.encode(self.data.train.images[:kept])

    @property
    def test_codes(self) -> Posterior:
        """The posterior q(z | x) of the test images: of all, unless codes are large."""
        if self.encoded.codes is None:
            raise Unmeasurable(NO_CODE)
        return self.encoded.codes

    @cached_property
    def code_samples(self) -> Tensor:
        """One draw z ~ q(z | x) per train image, `[N, *shape]`; the code itself for a point posterior."""
        codes, draws = self.train_codes, self.generator("codes")
        if codes.log_var is None or codes.mean.ndim == 2:
            return codes.rsample(generator=draws)
        samples = room_for_codes(len(codes.mean), self.code_shape)
        for start in range(0, len(samples), DRAWN):
            part = slice(start, start + DRAWN)
            samples[part] = codes.part(part).rsample(generator=draws)
        return samples

    @cached_property
    def code_shape(self) -> Shape:
        """The shape of one code: `(D,)`, `(C, h, w)` or `(T, C)`."""
        return tuple(self.posterior(to_float(self.data.test.images[:1])).mean.shape[1:])

    @cached_property
    def train_points(self) -> Posterior:
        """The posterior q(z | x) of `train_codes` as points: one position of each grid, `[N, C]`."""
        return self.train_codes.map(lambda codes: self._points(codes, "train positions"))

    @cached_property
    def test_points(self) -> Posterior:
        """The posterior q(z | x) of `test_codes` as points: one position of each grid, `[N, C]`."""
        return self.test_codes.map(lambda codes: self._points(codes, "test positions"))

    @cached_property
    def point_samples(self) -> Tensor:
        """One draw z ~ q(z | x) per point of `train_points`, `[N, C]`."""
        return self._points(self.code_samples, "train positions")

    def _points(self, codes: Tensor, purpose: str) -> Tensor:
        return one_position(codes, self.generator(purpose))
