"""A small CLIP, built from open_clip's own model class, trained on captioned images."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from latentbench.data.captioned.draw import with_captions
from latentbench.data.captioned.schemes import DIGIT_CAPTIONS, CaptionScheme, committed_split
from latentbench.data.images import ImageData
from latentbench.models.family import FAMILIES, GradientFamily
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.networks.tokenizer import caption_tokenizer
from latentbench.models.training.contrastive import (
    alignment,
    modality_gap,
    symmetric_cross_entropy,
    uniformity,
)
from latentbench.models.training.engine import Draw, Step

WIDTH, HEADS = 64, 2
LARGEST_LOGIT_SCALE = math.log(100)


def clip_config(embed_dim: int, side: int, *, vocabulary: int, context: int) -> dict[str, Any]:
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
            "context_length": context,
            "vocab_size": vocabulary,
            "width": WIDTH,
            "heads": HEADS,
            "layers": 2,
        },
    }


class ContrastiveFamily(GradientFamily):
    """Images and captions in one space of `latent_dim` dimensions; a subclass says what is minimised.

    Trained on the seen captions alone, each step by a random one of the scheme's templates: the captions
    a zero-shot test asks about never appear.
    """

    initial_scales: ClassVar[dict[str, float]] = {}
    """open_clip's keywords for how the logits start."""
    seen_tokens: Tensor

    def __init__(self, embed_dim: int, image_shape: ImageShape) -> None:
        # open_clip takes seconds to import: only those who build a CLIP wait for it.
        from open_clip.model import CLIP as OpenClip

        super().__init__()
        self.tokenizer = caption_tokenizer()
        config = clip_config(
            embed_dim, image_shape[1], vocabulary=self.tokenizer.size, context=self.tokenizer.context
        )
        self.towers = OpenClip(**config, **self.initial_scales)
        self.register_buffer("seen_tokens", torch.empty(0), persistent=False)
        self._describe(DIGIT_CAPTIONS, committed_split(DIGIT_CAPTIONS).seen)

    def _describe(self, scheme: CaptionScheme, seen: Sequence[int]) -> None:
        """Keep the ids of every seen caption by every template, `[T, templates, context]`."""
        texts = [[scheme.captions_by(template)[caption] for template in scheme.templates] for caption in seen]
        tokens = torch.stack([self.tokenizer.encode(texts_of_one) for texts_of_one in texts])
        self.seen_tokens = tokens.to(self.towers.logit_scale.device)

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

    def prepare(self, data: ImageData) -> None:
        """The captions of `data`, where they are not digits."""
        drawn = with_captions(data)
        self._describe(drawn.scheme, drawn.seen)

    def training_tensors(self, data: ImageData) -> tuple[Tensor, ...]:
        """Images drawn from `data` in the seen cells, and the row of each one's caption."""
        drawn = with_captions(data)
        row_of_caption = torch.full((len(drawn.captions),), -1)
        row_of_caption[list(drawn.seen)] = torch.arange(len(drawn.seen))
        return drawn.train.images, row_of_caption[drawn.train.captions]

    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        """The images, with the seen captions in turn."""
        return images, torch.arange(len(images), device=images.device) % len(self.seen_tokens)

    def draws(self, batch_size: int) -> dict[str, Draw]:
        """Which template each caption is put in."""
        del batch_size
        return {"template": Draw("uniform", (len(self.seen_tokens),))}

    def forward(self, step: Step) -> dict[str, Tensor]:
        """The contrastive loss, nats, and what the space looks like: alignment, uniformity, gap.

        A batch holds each caption many times over, so an image is told apart from the distinct seen
        captions, and a caption has all its images as positives: no equal pair is ever pushed apart.
        """
        images, caption = step.rows
        template = (step.draws["template"] * self.seen_tokens.shape[1]).long()
        row = torch.arange(len(template), device=template.device)
        text = self._encode_tokens(self.seen_tokens[row, template])
        image = self.encode_image(images.float() / 255)
        return {**self.contrast(image, text, caption), **_geometry(image, text, caption, self.scale)}

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by: one over the temperature, at most 100."""
        scale: Tensor = self.towers.logit_scale.clamp(max=LARGEST_LOGIT_SCALE).exp()
        return scale

    @abstractmethod
    def contrast(self, image: Tensor, text: Tensor, caption: Tensor) -> dict[str, Tensor]:
        """The loss and its parts, nats, of images `[B, D]`, distinct captions `[T, D]` and whose is whose."""


@torch.no_grad()
def _geometry(image: Tensor, text: Tensor, caption: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """The temperature and the shape of the space, for the history."""
    return {
        "temperature": 1 / scale,
        "alignment": alignment(image, text[caption]),
        "uniformity": uniformity(image),
        "modality_gap": modality_gap(image, text),
    }


@FAMILIES.register("clip")
class CLIP(ContrastiveFamily):
    """Images and captions in one space of `latent_dim` dimensions, by the symmetric contrastive loss.

    With `pretrained`, in place of `latent_dim`, one of open_clip's, measured as it is.
    """

    paper: ClassVar[str] = "Radford et al. 2021, arXiv:2103.00020"

    def contrast(self, image: Tensor, text: Tensor, caption: Tensor) -> dict[str, Tensor]:
        """The mean of image to text and text to image."""
        image_to_text, text_to_image = symmetric_cross_entropy(self.scale * image @ text.T, caption)
        return {
            "loss": (image_to_text + text_to_image) / 2,
            "image_to_text": image_to_text,
            "text_to_image": text_to_image,
        }
