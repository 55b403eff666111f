"""Images, labels and captions: by name, from a folder, or from tensors.

>>> import latentbench.data as data
>>> data.load("mnist").image_shape
(1, 28, 28)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentbench.data.captioned.draw import CaptionedData, CaptionedImages, with_captions
    from latentbench.data.errors import DataError, LatentbenchError
    from latentbench.data.images import ImageData, Split
    from latentbench.data.loading import load

# Loaded at first use: the command line imports this package and must start without torch.
_HOMES = {
    "CaptionedData": "captioned.draw",
    "CaptionedImages": "captioned.draw",
    "DataError": "errors",
    "ImageData": "images",
    "LatentbenchError": "errors",
    "Split": "images",
    "load": "loading",
    "with_captions": "captioned.draw",
}

__all__ = [
    "CaptionedData",
    "CaptionedImages",
    "DataError",
    "ImageData",
    "LatentbenchError",
    "Split",
    "load",
    "with_captions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
