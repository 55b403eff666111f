"""Images with words: class names in templates such as “a photo of a {}.”, or captions and negatives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from latentbench.data.images import ImageData
from latentbench.data.reading.image_files import Reader
from latentbench.data.reading.image_source import CaptionPairs, ImageSource

DEFAULT_TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True, eq=False)
class CompleteImageData(ImageData):
    """Images that come with words; if nothing is trained on them, none is left out.

    `unreadable` are the names of those that could not be read then, and `readable` bool `[N]` says which test
    images could: the others are black. `originals` are the test images at their original size, for
    models that scale images by themselves, and `reader` opens them as CLIP_benchmark does.
    """

    readable: Tensor
    unreadable: tuple[str, ...]
    originals: ImageSource = field(kw_only=True)
    reader: Reader = field(kw_only=True)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) of the images, the originals, the classes, their words, and `unreadable`."""
        images = (super().fingerprint, self.originals.fingerprint)
        content = "\0".join([*images, *self._words, "", *self.unreadable])
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def _words(self) -> Iterable[str]:
        return ()


@dataclass(frozen=True, eq=False)
class PromptedImageData(CompleteImageData):
    """Images with the names of their classes, of which several may be the same, and templates for them."""

    names_may_repeat: ClassVar[bool] = True

    templates: tuple[str, ...]

    @override
    @property
    def _words(self) -> Iterable[str]:
        return self.templates


@dataclass(frozen=True, eq=False)
class PairedImageData(CompleteImageData):
    """Images with pairs of a caption and a negative, by kind of change."""

    pairs: tuple[CaptionPairs, ...]

    @property
    def captions(self) -> tuple[str, ...]:
        """Every different caption and negative."""
        return tuple(dict.fromkeys(text for each in self.pairs for text in (*each.captions, *each.negatives)))

    @override
    @property
    def _words(self) -> Iterable[str]:
        return (word for each in self.pairs for word in each.words)


def templates_of(data: ImageData) -> tuple[str, ...]:
    """Return the templates that came with the data, or “a photo of a {}.”."""
    return data.templates if isinstance(data, PromptedImageData) else DEFAULT_TEMPLATES
