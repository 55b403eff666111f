"""A small CLIP, built from open_clip's model class and trained on captioned images."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from latentbench.data.captioned.draw import with_captions
from latentbench.data.captioned.schemes import DIGIT_CAPTIONS, CaptionScheme, committed_split
from latentbench.data.images import ImageData
from latentbench.models.families.image_text.contrastive import (
    alignment,
    modality_gap,
    symmetric_cross_entropy,
    uniformity,
)
from latentbench.models.family import FAMILIES, GradientFamily
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.networks.tokenizer import caption_tokenizer
from latentbench.models.spec import Display, ModelSpec
from latentbench.models.training.engine import Draw, TrainingStep

WIDTH, HEADS = 64, 2
LARGEST_LOGIT_SCALE = math.log(100)


def clip_config(embed_dim: int, side: int, *, vocabulary: int, context: int) -> dict[str, Any]:
    """Return open_clip's configuration of a three-layer ViT with at least four patches per side."""
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


class ContrastiveFamily(GradientFamily[ModelSpec]):
    """Images and captions in one space of `latent_dim` dimensions; a subclass defines the objective.

    Training uses the seen captions only, each step in a random template of the scheme; the captions that
    the zero-shot test asks about never appear.
    """

    initial_scales: ClassVar[dict[str, float]] = {}
    """open_clip's keywords for the initial scale and bias of the logits."""
    seen_tokens: Tensor

    def __init__(self, spec: ModelSpec, image_shape: ImageShape) -> None:
        # open_clip takes seconds to import: only building a CLIP waits for it.
        from open_clip.model import CLIP as OpenClip

        super().__init__(spec, image_shape)
        self.tokenizer = caption_tokenizer()
        config = clip_config(
            spec.latent_dim, image_shape[1], vocabulary=self.tokenizer.size, context=self.tokenizer.context
        )
        self.towers = OpenClip(**config, **self.initial_scales)
        self.register_buffer("seen_tokens", torch.empty(0), persistent=False)
        self.describe(DIGIT_CAPTIONS, committed_split(DIGIT_CAPTIONS).seen)

    def describe(self, scheme: CaptionScheme, seen: Sequence[int]) -> None:
        """Store the token ids of each seen caption in each template, `[T, templates, context]`."""
        texts = [[scheme.captions_by(template)[caption] for template in scheme.templates] for caption in seen]
        tokens = torch.stack([self.tokenizer.encode(texts_of_one) for texts_of_one in texts])
        self.seen_tokens = tokens.to(self.towers.logit_scale.device)

    @override
    @property
    def width(self) -> int:
        return int(self.towers.text_projection.shape[1])

    def encode_image(self, x: Tensor) -> Tensor:
        """Map images in [0, 1] `[B, C, H, W]` to unit vectors `[B, D]`; a grey image is repeated to RGB."""
        rgb = x.expand(-1, 3, -1, -1)
        embedding: Tensor = self.towers.encode_image(rgb, normalize=True)
        return embedding.float()

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Map captions to unit vectors `[B, D]`; a word outside the vocabulary is a LatentbenchError."""
        return self._encode_tokens(self.tokenizer.encode(captions).to(next(self.parameters()).device))

    def _encode_tokens(self, tokens: Tensor) -> Tensor:
        embedding: Tensor = self.towers.encode_text(tokens, normalize=True)
        return embedding.float()

    @override
    def prepare(self, data: ImageData) -> None:
        """Take the captions of `data`."""
        drawn = with_captions(data)
        self.describe(drawn.scheme, drawn.seen)

    @override
    def training_tensors(self, data: ImageData) -> tuple[Tensor, ...]:
        """Return images drawn from `data` with seen captions, and the row of each image's caption."""
        drawn = with_captions(data)
        row_of_caption = torch.full((len(drawn.captions),), -1)
        row_of_caption[list(drawn.seen)] = torch.arange(len(drawn.seen))
        return drawn.train.images, row_of_caption[drawn.train.captions]

    @override
    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        return images, torch.arange(len(images), device=images.device) % len(self.seen_tokens)

    @override
    def draws(self, batch_size: int) -> dict[str, Draw]:
        """Draw the template of each caption."""
        return {"template": Draw("uniform", (len(self.seen_tokens),))}

    @override
    def forward(self, step: TrainingStep) -> dict[str, Tensor]:
        """Return the contrastive loss, nats, and the geometry of the space: alignment, uniformity, gap.

        A batch contains each caption many times. So an image is compared with the distinct seen captions,
        and all images of a caption are its positives: no equal pair is ever a negative.
        """
        images, caption = step.rows
        template = (step.draws["template"] * self.seen_tokens.shape[1]).long()
        row = torch.arange(len(template), device=template.device)
        text = self._encode_tokens(self.seen_tokens[row, template])
        image = self.encode_image(images.float() / 255)
        return {**self.contrast(image, text, caption), **_geometry(image, text, caption, self.scale)}

    @property
    def scale(self) -> Tensor:
        """The factor of the cosines: one over the temperature, at most 100."""
        scale: Tensor = self.towers.logit_scale.clamp(max=LARGEST_LOGIT_SCALE).exp()
        return scale

    @abstractmethod
    def contrast(self, image: Tensor, text: Tensor, caption: Tensor) -> dict[str, Tensor]:
        """Return the loss and its parts, nats, of images `[B, D]` and distinct captions `[T, D]`.

        `caption` `[B]` is the row of each image's own caption.
        """


@torch.no_grad()
def _geometry(image: Tensor, text: Tensor, caption: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """Return the temperature and the geometry of the space, for the history."""
    return {
        "temperature": 1 / scale,
        "alignment": alignment(image, text[caption]),
        "uniformity": uniformity(image),
        "modality_gap": modality_gap(image, text),
    }


@FAMILIES.register("clip")
class CLIP(ContrastiveFamily):
    """CLIP: images and captions in one space of `latent_dim` dimensions, by the symmetric contrastive loss.

    With `pretrained` instead of `latent_dim` it is a trained model of open_clip, measured unchanged.
    """

    paper: ClassVar[str] = "Radford et al. 2021, arXiv:2103.00020"
    display: ClassVar[Display] = Display(110, "#009e73", "^")

    @override
    def contrast(self, image: Tensor, text: Tensor, caption: Tensor) -> dict[str, Tensor]:
        image_to_text, text_to_image = symmetric_cross_entropy(self.scale * image @ text.T, caption)
        return {
            "loss": (image_to_text + text_to_image) / 2,
            "image_to_text": image_to_text,
            "text_to_image": text_to_image,
        }
