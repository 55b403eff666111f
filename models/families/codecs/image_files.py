"""Image codecs by Pillow: JPEG, WebP, AVIF, JPEG 2000 and PNG. The compressed image is a file.

The size of that file, with its header, is the rate: bits per pixel = 8 · bytes / pixels. Settings other than
`quality` are Pillow's defaults; colour is subsampled where a format does so by default.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from PIL import Image, features
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.families.codecs.weight_free import WeightFree, WeightFreeSpec
from latentbench.models.family import FAMILIES
from latentbench.models.resolver import Resolver
from latentbench.models.spec import Display, ModelSpec

MODES = {1: "L", 3: "RGB"}
"""Pillow's name of the kind of pixels, by the number of channels."""


class CodecSpec(WeightFreeSpec):
    """Settings of a codec without loss."""

    @property
    @override
    def label(self) -> str:
        """The format with its settings, such as `jpeg q=75`; there is no width."""
        return self.series


class QualitySpec(CodecSpec):
    """Settings of a codec with loss."""

    quality: Annotated[int, Field(ge=1, le=100, strict=True)] = 75
    """The format's quality setting: higher is larger and better. Of JPEG 2000 it is the PSNR in dB."""

    @property
    @override
    def series(self) -> str:
        """The format with its quality."""
        return f"{self.family} q={self.quality}"


class ImageFileCodec(WeightFree[CodecSpec]):
    """A format of Pillow. A codec has no code vector, so the metrics of codes are null."""

    file_format: ClassVar[str]
    """Pillow's name of the format."""
    feature: ClassVar[str]
    """Pillow's name of the library that has to be compiled in."""

    @override
    @classmethod
    def resolve(cls, spec: CodecSpec, data: ImageData, resolver: Resolver) -> CodecSpec:
        if not features.check(cls.feature):
            raise LatentbenchError(f"{spec.family}: this build of Pillow cannot write {cls.file_format}")
        if data.image_shape[0] not in MODES:
            raise LatentbenchError(
                f"{spec.family}: takes images of 1 or 3 channels, {data.name} has {data.image_shape[0]}"
            )
        if spec.latent_dim:
            raise LatentbenchError(f"{spec.family}: a codec has no code vector; leave latent_dim out")
        return spec

    def save_options(self) -> Mapping[str, Any]:
        """Return the arguments of Pillow's `save`."""
        return {}

    def compress(self, x: Tensor) -> list[bytes]:
        """Write images in [0, 1] `[B, C, H, W]`, rounded to 8 bits, as one file each."""
        arrays = (x * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [self._file(array) for array in arrays]

    def _file(self, array: np.ndarray) -> bytes:
        content = io.BytesIO()
        image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
        image.save(content, self.file_format, **self.save_options())
        return content.getvalue()

    def decompress(self, files: Sequence[bytes]) -> Tensor:
        """Read files as images in [0, 1] `[B, C, H, W]`, on the CPU."""
        return torch.stack([self._image(content) for content in files])

    def _image(self, content: bytes) -> Tensor:
        channels, height, width = self.image_shape
        with Image.open(io.BytesIO(content), formats=[self.file_format]) as image:
            array = np.array(image.convert(MODES[channels]))
        return torch.from_numpy(array).reshape(height, width, channels).permute(2, 0, 1).float() / 255


class LossyCodec(ImageFileCodec):
    """A format with a quality."""

    Spec: ClassVar[type[ModelSpec]] = QualitySpec

    @property
    def quality(self) -> int:
        """The quality that images are written with."""
        assert isinstance(self.spec, QualitySpec)
        return self.spec.quality

    @override
    def save_options(self) -> Mapping[str, Any]:
        return {"quality": self.quality}


@FAMILIES.register("jpeg")
class Jpeg(LossyCodec):
    """JPEG over `quality`, with Huffman tables made for each image."""

    file_format, feature = "JPEG", "jpg"
    paper: ClassVar[str] = "Wallace 1992, doi:10.1109/30.125072"
    display: ClassVar[Display] = Display(4, "#1f2328", "s")

    @override
    def save_options(self) -> Mapping[str, Any]:
        return {"quality": self.quality, "optimize": True}


@FAMILIES.register("jpeg2000")
class Jpeg2000(LossyCodec):
    """JPEG 2000, whose `quality` is the PSNR in dB that the file is cut off at."""

    file_format, feature = "JPEG2000", "jpg_2000"
    paper: ClassVar[str] = "Skodras et al. 2001, doi:10.1109/79.952804"
    display: ClassVar[Display] = Display(5, "#6b7280", "D")

    class Decibels(QualitySpec):
        """Settings of JPEG 2000."""

        quality: Annotated[int, Field(ge=10, le=60, strict=True)] = 35

    Spec: ClassVar[type[ModelSpec]] = Decibels

    @override
    def save_options(self) -> Mapping[str, Any]:
        return {"quality_mode": "dB", "quality_layers": [self.quality], "irreversible": True}


@FAMILIES.register("webp")
class WebP(LossyCodec):
    """WebP with loss, over `quality`."""

    file_format, feature = "WEBP", "webp"
    paper: ClassVar[str] = "Bankoski et al. 2011, RFC 6386"
    display: ClassVar[Display] = Display(6, "#8c564b", "^")


@FAMILIES.register("avif")
class Avif(LossyCodec):
    """AVIF over `quality`."""

    file_format, feature = "AVIF", "avif"
    paper: ClassVar[str] = "Chen et al. 2018, doi:10.1109/PCS.2018.8456249"
    display: ClassVar[Display] = Display(7, "#bc6c25", "v")

    @override
    def save_options(self) -> Mapping[str, Any]:
        # By default the library takes all cores, which rates with one thread would not show.
        return {"quality": self.quality, "max_threads": 1}


@FAMILIES.register("png")
class Png(ImageFileCodec):
    """PNG, which loses nothing: the size of an image that is not compressed with a loss."""

    Spec: ClassVar[type[ModelSpec]] = CodecSpec
    file_format, feature = "PNG", "zlib"
    paper: ClassVar[str] = "Boutell 1997, RFC 2083"
    display: ClassVar[Display] = Display(8, "#1f2328", "*")

    @override
    def save_options(self) -> Mapping[str, Any]:
        return {"optimize": True}
