"""Images that are recognised by their classes' names, put into templates such as “a photo of a {}.”."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from latentbench.data.images import ImageData
from latentbench.data.reading.image_source import ImageSource

DEFAULT_TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True, eq=False)
class PromptedImageData(ImageData):
    """Images with the names of their classes and templates for them; `train` is `test`.

    `unreadable` are the names of the images that could not be read, and `readable` bool `[N]` says which
    test images could: the others are black. Several classes may have the same name.
    """

    names_may_repeat: ClassVar[bool] = True

    templates: tuple[str, ...]
    readable: Tensor
    unreadable: tuple[str, ...]
    originals: ImageSource | None = None
    """The test images at their original size, for models that scale images by themselves."""

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) of the images, the classes, the templates, and the unreadable images."""
        content = "\0".join([super().fingerprint, *self.templates, "", *self.unreadable])
        return hashlib.sha256(content.encode()).hexdigest()


def templates_of(data: ImageData) -> tuple[str, ...]:
    """Return the templates that came with the data, or “a photo of a {}.”."""
    return data.templates if isinstance(data, PromptedImageData) else DEFAULT_TEMPLATES
