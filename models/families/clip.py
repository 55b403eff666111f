"""A small CLIP, built from open_clip's own model class, trained on captioned digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from latentbench.data.captions import captioned_digits
from latentbench.data.cells import CAPTIONS, committed_split
from latentbench.data.images import ImageData
from latentbench.models.backbones import ImageShape
from latentbench.models.engine import Draw, Step
from latentbench.models.family import FAMILIES, GradientFamily
from latentbench.models.tokenizer import Tokenizer

CONTEXT = 12
WIDTH, HEADS = 64, 2
LARGEST_LOGIT_SCALE = math.log(100)


def clip_config(embed_dim: int, side: int, vocabulary: int) -> dict[str, Any]:
    """open_clip's configuration of a three-layer ViT with patches of a quarter of the image, or less."""
    return {
        "embed_dim": embed_dim,
        "vision_cfg": {
            "image_size": side,
            "patch_size": max(1, side // 4),
            "width": WIDTH,
            "layers": 3,
            "head_width": WIDTH // HEADS,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocabulary,
            "width": WIDTH,
            "heads": HEADS,
            "layers": 2,
        },
    }


@FAMILIES.register("clip")
class CLIP(GradientFamily):
    """Images and captions in one space of `latent_dim` dimensions.

    Trained on the seen caption cells alone: the captions a zero-shot test asks about never appear.
    """

    paper: ClassVar[str] = "Radford et al. 2021, arXiv:2103.00020"

    seen_tokens: Tensor

    def __init__(self, embed_dim: int, image_shape: ImageShape) -> None:
        # open_clip takes seconds to import: only those who build a CLIP wait for it.
        from open_clip.model import CLIP as OpenClip

        super().__init__()
        self.tokenizer = Tokenizer(CAPTIONS, context=CONTEXT)
        self.towers = OpenClip(**clip_config(embed_dim, image_shape[1], self.tokenizer.size))
        self.seen = committed_split().seen
        seen = self.tokenizer.encode([CAPTIONS[caption] for caption in self.seen])
        self.register_buffer("seen_tokens", seen, persistent=False)

    @classmethod
    def build(cls, spec: Any, image_shape: ImageShape) -> Self:
        """An untrained model; `latent_dim` is the width of the shared space."""
        return cls(spec.latent_dim, image_shape)

    @property
    def width(self) -> int:
        """Dimensions of the shared space."""
        return int(self.towers.text_projection.shape[1])

    def encode_image(self, x: Tensor) -> Tensor:
        """Images in [0, 1] `[B, C, H, W]` to unit vectors `[B, D]`; a grey image is repeated to RGB."""
        rgb = x.expand(-1, 3, -1, -1)
        embedding: Tensor = self.towers.encode_image(rgb, normalize=True)
        return embedding.float()

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Captions to unit vectors `[B, D]`; a word outside the vocabulary is a LatentbenchError."""
        return self._encode_tokens(self.tokenizer.encode(captions).to(next(self.parameters()).device))

    def _encode_tokens(self, tokens: Tensor) -> Tensor:
        embedding: Tensor = self.towers.encode_text(tokens, normalize=True)
        return embedding.float()

    def training_tensors(self, data: ImageData) -> tuple[Tensor, ...]:
        """Digits rendered from `data` in the seen cells, and the row of each one's caption."""
        train = captioned_digits(data).train
        row_of_caption = torch.full((len(CAPTIONS),), -1)
        row_of_caption[list(self.seen)] = torch.arange(len(self.seen))
        return train.images, row_of_caption[train.captions]

    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        """The images, with the seen captions in turn."""
        return images, torch.arange(len(images), device=images.device) % len(self.seen)

    def draws(self, batch_size: int) -> dict[str, Draw]:
        """None: the loss is deterministic."""
        del batch_size
        return {}

    def forward(self, step: Step) -> dict[str, Tensor]:
        """The symmetric contrastive loss, nats, with every distinct caption once.

        A batch holds each caption many times over, so an image is told apart from the distinct seen
        captions, and a caption has all its images as positives: no equal pair is ever pushed apart.
        """
        images, caption = step.rows
        scale = self.towers.logit_scale.clamp(max=LARGEST_LOGIT_SCALE).exp()
        text = self._encode_tokens(self.seen_tokens)
        logits = scale * self.encode_image(images.float() / 255) @ text.T
        image_to_text = F.cross_entropy(logits, caption)
        text_to_image = multi_positive_cross_entropy(logits.T, caption)
        return {
            "loss": (image_to_text + text_to_image) / 2,
            "image_to_text": image_to_text,
            "text_to_image": text_to_image,
            "scale": scale,
        }


def multi_positive_cross_entropy(logits: Tensor, caption: Tensor) -> Tensor:
    """Cross-entropy of each caption with a batch of images, nats: a scalar.

    `logits` `[T, B]`, `caption` `[B]` in 0 … T−1. The target of a caption is uniform over its images;
    captions without an image in the batch do not count.
    """
    positives = F.one_hot(caption, len(logits)).float().T
    count = positives.sum(1, keepdim=True)
    present = count > 0
    per_caption = -(positives * logits.log_softmax(1)).sum(1, keepdim=True) / count.clamp_min(1)
    return (per_caption * present).sum() / present.sum()
