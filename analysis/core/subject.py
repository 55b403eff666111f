"""The subject of an analysis: one trained model on one data set, its codes and images computed once.

Every property is computed at first use and kept, so no analysis encodes the same images twice and
none trains a zoo model. A model without `encode`/`decode` says so through `can_decode`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import torch
from torch import Generator, Tensor

from latentbench.analysis.core.metric import Unmeasurable
from latentbench.analysis.features.judge import NO_JUDGE, Judge, JudgedImages
from latentbench.analysis.features.stored_judges import load_judge
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.memo import Memo
from latentbench.models.protocols import Autoencoder, DiscreteAutoencoder, Encoder, ImageTextModel, Posterior
from latentbench.models.seeds import generator
from latentbench.models.training.history import History

BATCH = 1000
BATCH_VALUES = 10_000_000
"""The number of pixels in a batch, for images so large that a thousand would be too much."""
TRAIN_CODES = 30_000
"""The number of train images whose codes describe the latent space: as many as any analysis uses."""

NO_DECODER = "no decoder"
"""The reason of a metric of decoded images for a model that cannot decode."""


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 images 0–255 to float32 in [0, 1]."""
    return images.float() / 255


def to_uint8(images: Tensor) -> Tensor:
    """Convert float images in [0, 1] to the nearest uint8 0–255."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


@dataclass(eq=False)
class DataContext(Memo):
    """The data, their judge and the judged originals, which all models on one data set share."""

    data: ImageData
    judge: Judge | None
    """None if the data have no labels to train one on; metrics that need a judge are then null."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def of(cls, data: ImageData, device: torch.device, *, judged: bool = True) -> Self:
        """Build the context of data, with their judge unless `judged` is false or there are no train images.

        The judge is trained first if none is shipped or cached.
        """
        judge = load_judge(data) if judged and not data.test_only else None
        return cls(data, judge, device)

    def view(self, images: Tensor) -> JudgedImages:
        """Return the judge's view of float images in [0, 1]. Raises LatentbenchError if there is no judge."""
        if self.judge is None:
            raise LatentbenchError(NO_JUDGE)
        return self.judge.view(images, device=self.device)

    @cached_property
    def judged_test(self) -> JudgedImages:
        """The judge's view of the test images."""
        return self.view(to_float(self.data.test.images))


@dataclass(eq=False)
class Subject(Memo):
    """A model to be measured. `seed` determines every draw made while measuring."""

    model: Encoder | ImageTextModel
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
        """True if the model can turn codes back into images."""
        return isinstance(self.model, Autoencoder)

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

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Posterior:
        """Encode uint8 images `[N, C, H, W]` to q(z | x), on the CPU, in batches."""
        size = max(1, min(BATCH, BATCH_VALUES // images[0].numel()))
        posteriors = [self._encode(to_float(batch).to(self.context.device)) for batch in images.split(size)]
        mean = torch.cat([posterior.mean.float().cpu() for posterior in posteriors])
        log_vars = [p.log_var.float().cpu() for p in posteriors if p.log_var is not None]
        return Posterior(mean, torch.cat(log_vars) if log_vars else None)

    def _encode(self, x: Tensor) -> Posterior:
        if isinstance(self.model, Encoder):
            return self.model.encode(x)
        return Posterior(self.model.encode_image(x))

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes `[N, D]` to float images in [0, 1] `[N, C, H, W]`, on the CPU, in batches.

        Raises Unmeasurable for a model without a decoder.
        """
        if not isinstance(self.model, Autoencoder):
            raise Unmeasurable(NO_DECODER)
        batches = [self.model.decode(z.to(self.context.device)) for z in codes.split(BATCH)]
        return torch.cat([batch.float().cpu() for batch in batches])

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
    def train_codes(self) -> Posterior:
        """The posterior q(z | x) of the first 30,000 train images, or of all if there are fewer."""
        return self.encode(self.data.train.images[:TRAIN_CODES])

    @cached_property
    def test_codes(self) -> Posterior:
        """The posterior q(z | x) of all test images."""
        return self.encode(self.data.test.images)

    @cached_property
    def reconstructions(self) -> Tensor:
        """Reconstructions decode(E[z | x]) of all test images: float32 in [0, 1], `[N, C, H, W]`."""
        return self.decode(self.test_codes.mean)

    @cached_property
    def judged_reconstructions(self) -> JudgedImages:
        """The judge's view of the reconstructions."""
        return self.context.view(self.reconstructions)

    @cached_property
    def code_samples(self) -> Tensor:
        """One draw z ~ q(z | x) per train image, `[N, D]`; the code itself for a point posterior."""
        return self.train_codes.rsample(generator=self.generator("codes"))
