"""Locked-image tuning: an image projection and a text encoder on the frozen codes of any encoder.

After Zhai et al. 2022 (arXiv:2111.07991), small: the image encoder stays frozen and its codes are computed
once; only an image projection and a text tower are trained, on the 63 seen captions of captioned images.

Sixty-three distinct captions describe all train images, so a step embeds each caption once and classifies
every image among the 63. In-batch negatives, as in CLIP, would treat an image's own caption as a negative
whenever two images share it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentbench.analysis.core.metric import Unmeasurable
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.core.test_pass import kept_codes
from latentbench.analysis.latent.probes import FITTED, Vectors, components, standardise
from latentbench.analysis.statistics.fitting import fit
from latentbench.data.captioned.draw import CaptionedData, with_captions
from latentbench.data.errors import DataError
from latentbench.models.codes import pooled
from latentbench.models.networks.tokenizer import Tokenizer
from latentbench.models.seeds import derive, generator

WIDTH = 64
HIDDEN = 256
STEPS = 600
BATCH = 256
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.01
# Chosen on train images with the nine validation captions; the unseen captions were not used.


def captions_of(subject: Subject) -> CaptionedData:
    """Return the subject's data with captions. Raises Unmeasurable if the data cannot be redrawn."""
    try:
        return with_captions(subject.data)
    except DataError as error:
        raise Unmeasurable(str(error)) from None


class Towers(nn.Module):
    """An image projection and a text tower into one space, compared by cosine at a learned temperature.

    A caption's vector is the sum of its words' vectors: what is learned of a word in one combination
    applies to every other.
    """

    def __init__(self, code_dimensions: int, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.words = nn.Embedding(tokenizer.size, WIDTH)
        nn.init.normal_(self.words.weight, std=0.1)
        self.image = nn.Sequential(
            nn.Linear(code_dimensions, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, WIDTH),
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(10)))

    def text(self, ids: Tensor) -> Tensor:
        """Map token ids `[M, context]` to unit vectors `[M, 64]`."""
        is_word = (ids > 1) & (ids < self.tokenizer.end)
        return F.normalize((self.words(ids) * is_word.unsqueeze(2)).sum(1), dim=1)

    def forward(self, codes: Tensor, ids: Tensor) -> Tensor:
        """Compare standardised codes `[N, D]` with captions `[M, context]`: logits `[N, M]`."""
        image = F.normalize(self.image(codes), dim=1)
        return image @ self.text(ids).T * self.log_scale.exp()


def fit_towers(
    codes: Tensor, captions: Tensor, tokenizer: Tokenizer, texts: tuple[str, ...], *, seed: int
) -> Towers:
    """Train towers on standardised codes `[N, D]` whose captions are `texts[captions]`, captions int64 `[N]`.

    Only captions that occur are ever embedded: a text that describes no image is not trained on. Runs on
    the CPU, a second or two; the same input and seed give the same towers.
    """
    occurring, targets = captions.unique(return_inverse=True)
    ids = tokenizer.encode([texts[i] for i in occurring.tolist()])
    order = generator(seed, "zero-shot order")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "zero-shot towers"))
        towers = Towers(codes.shape[1], tokenizer)

    def loss() -> Tensor:
        rows = torch.randint(len(codes), (BATCH,), generator=order)
        return F.cross_entropy(towers(codes[rows], ids), targets[rows])

    fit(loss, towers.parameters(), steps=STEPS, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    return towers.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class LockedImage:
    """Towers trained on the seen captions, on the frozen encoder that computed `train_codes`."""

    vectors: Vectors
    """The vectors that `Subject.vectors` makes of codes."""
    train_codes: Tensor
    """Vectors of the captioned train images, `[N, D]`, by which others are standardised."""
    towers: Towers
    captions: tuple[str, ...]

    def scores(self, codes: Tensor) -> Tensor:
        """Return a score for each of the M captions and each image, from codes `[N, D]`: float `[N, M]`."""
        _, standard = standardise(self.train_codes, codes)
        scores: Tensor = self.towers(standard, self.towers.tokenizer.encode(self.captions))
        return scores


def locked_image(subject: Subject) -> LockedImage:
    """Train towers on the subject's codes of the train images, whose captions are all seen ones.

    A grid or tokens are averaged over positions. `subject.once(locked_image)` trains them once. Raises
    AssertionError if a held-out caption is among them.
    """
    return _tuned(subject, captions_of(subject), pooled)


def locked_components(subject: Subject) -> LockedImage:
    """Train towers as `locked_image` does, on the principal components of codes that are a grid or tokens."""
    drawn = captions_of(subject)
    fitted = drawn.train.images[: min(FITTED, kept_codes(subject.code_shape))]
    return _tuned(subject, drawn, components(subject.encode(fitted).mean))


def _tuned(subject: Subject, drawn: CaptionedData, vectors: Vectors) -> LockedImage:
    if set(drawn.train.captions.tolist()) & {*drawn.validation, *drawn.unseen}:
        raise AssertionError("a held-out caption is among the train captions")
    raw = subject.vectors(drawn.train.images, vectors)
    codes, _ = standardise(raw, raw)
    towers = fit_towers(
        codes, drawn.train.captions, Tokenizer(drawn.vocabulary), drawn.captions, seed=subject.seed
    )
    return LockedImage(vectors, raw, towers, drawn.captions)
