"""The subject of an analysis: one trained model on one data set, its codes and images computed once.

Every property is computed at first use and kept, so no analysis encodes the same images twice and
none trains a zoo model. A model without `encode`/`decode` says so through `can_decode`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from operator import add
from typing import Literal, Self

import torch
from torch import Generator, Tensor

from latentbench.analysis.core.feature_sums import FeatureSums
from latentbench.analysis.core.freed_memory import tidied
from latentbench.analysis.core.metric import Unmeasurable
from latentbench.analysis.core.test_pass import (
    ImageErrors,
    TestPass,
    joined_codes,
    joined_views,
    kept_codes,
)
from latentbench.analysis.features.extractors import Distance, Extractor, Feature
from latentbench.analysis.features.judge import NO_JUDGE, Judge, Views, reduced, why_not_judged
from latentbench.analysis.features.stored_judges import load_judges
from latentbench.analysis.image_similarity import check_images
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.storage.memo import Memo
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

BATCH = 1000
BATCH_VALUES = 2_000_000
"""The number of values in a batch, for images so large that a thousand would be too much."""
TRAIN_CODES = 30_000
"""The number of train images whose codes describe the latent space: as many as any analysis uses."""
DRAWN = 256
"""Codes of many positions that are drawn at once; a multiple of 16 draws what one call for all would."""

NO_DECODER = "no decoder"
"""The reason of a metric of decoded images for a model that cannot decode."""
NO_CODE = "a codec has no code vector"
"""The reason of a metric of codes for a codec."""


def batch_size(image_shape: Sequence[int], *, largest: int = BATCH) -> int:
    """Return the number of images that are computed at once: `largest`, or fewer of large images.

    >>> batch_size((1, 28, 28)), batch_size((3, 128, 128))
    (1000, 40)
    """
    return max(1, min(largest, BATCH_VALUES // math.prod(image_shape)))


def in_batches(images: Tensor) -> Iterator[Tensor]:
    """Yield images `[N, C, H, W]` in batches of `batch_size`."""
    shape = images.shape[1:]
    return tidied(images.split(batch_size(shape)), shape)


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 images 0–255 to float32 in [0, 1]."""
    return images.float() / 255


def to_uint8(images: Tensor) -> Tensor:
    """Convert float images in [0, 1] to the nearest uint8 0–255."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


@dataclass(eq=False)
class DataContext(Memo):
    """The data, their judges and the judged originals, which all models on one data set share."""

    data: ImageData
    judges: tuple[Judge, ...] = ()
    """Empty if the data have no labels to train one on; metrics that need a judge are then null."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    features: tuple[Feature, ...] = ()
    """Extractors and distances between images, besides the judges; some may be absent."""

    @classmethod
    def of(
        cls,
        data: ImageData,
        device: torch.device,
        *,
        judged: bool = True,
        features: tuple[Feature, ...] = (),
    ) -> Self:
        """Build the context of data, with their judges unless `judged` is false or there are no train images.

        Judges are trained first, on the device, if none are shipped or cached.
        """
        judges = load_judges(data, device=device) if judged and not data.test_only else ()
        return cls(data, judges, device, features)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of all features, also of absent ones."""
        return tuple(feature.name for feature in self.features)

    @property
    def extractors(self) -> tuple[Extractor, ...]:
        """The extractors that are on this machine."""
        return tuple(feature for feature in self.features if isinstance(feature, Extractor))

    def sums(self, images: Tensor, first: int) -> dict[str, FeatureSums]:
        """Sum each extractor's features of consecutive float images; the first one has the number `first`."""
        return {
            extractor.name: FeatureSums.of(extractor.features(images, device=self.device), first)
            for extractor in self.extractors
        }

    def distances(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return each network's distance of pairs of float images, if they are large enough for it."""
        return {
            feature.name: feature.between(x, y, device=self.device)
            for feature in self.features
            if isinstance(feature, Distance) and min(x.shape[2:]) >= feature.smallest_side
        }

    @cached_property
    def original_sums(self) -> dict[str, FeatureSums]:
        """The sums of each extractor's features of the test images."""
        size, images = batch_size(self.data.image_shape), self.data.test.images
        parts = [self.sums(to_float(batch), at * size) for at, batch in enumerate(images.split(size))]
        return {name: reduce(add, (part[name] for part in parts)) for name in parts[0]}

    @cached_property
    def no_judge(self) -> str | None:
        """The reason why nothing can judge images; None if something can."""
        return why_not_judged(self.judges, self.data)

    def view(self, images: Tensor) -> Views:
        """Return each judge's view of float images in [0, 1]. Raises LatentbenchError without judges."""
        if not self.judges:
            raise LatentbenchError(NO_JUDGE)
        seen = reduced(images.to(self.device))  # once, not by every judge
        return tuple(judge.view(seen, device=self.device) for judge in self.judges)

    def view_all(self, batches: Iterable[Tensor]) -> Views:
        """Return each judge's view of batches of float images in [0, 1], which are never all in memory."""
        return joined_views([self.view(batch) for batch in batches])

    def view_stored(self, images: Tensor) -> Views:
        """Return each judge's view of uint8 images `[N, C, H, W]`."""
        return self.view_all(map(to_float, in_batches(images)))

    @cached_property
    def judged_test(self) -> Views:
        """Each judge's view of the test images."""
        return self.view_stored(self.data.test.images)


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
        return joined_codes([self.posterior(to_float(batch)) for batch in in_batches(images)])

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
        batches = self.data.test.images.split(size)
        start = len(batches) * shard // shards
        own = batches[start : len(batches) * (shard + 1) // shards]
        if not own:
            raise ValueError(f"shard {shard} of {shards} has none of {len(batches)} batches of test images")
        passes: list[TestPass] = []
        decode = decode and self.can_decode
        for images in tidied(own, self.data.image_shape):
            sound = not passes or passes[-1].problem is None
            done = sum(each.count for each in passes)
            first = start * size + done
            found = self._pass_over_batch(to_float(images), first, decode=decode and sound)
            passes.append(found.keeping_codes(done))
        return TestPass.joined(passes)

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
        samples = torch.empty_like(codes.mean)
        for start in range(0, len(samples), DRAWN):
            part = slice(start, start + DRAWN)
            samples[part] = codes.part(part).rsample(generator=draws)
        return samples

    @cached_property
    def code_shape(self) -> Shape:
        """The shape of one code: `(D,)`, `(C, h, w)` or `(T, C)`."""
        return tuple(self.posterior(to_float(self.data.test.images[:1])).mean.shape[1:])

    @property
    def unit(self) -> Literal["image", "position"]:
        """A point of the latent analyses: the code of an image, or one position of it.

        The positions of one image depend on each other; so an image has one point in either case.
        """
        return "image" if len(self.code_shape) == 1 else "position"

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
