"""The trial of a loaded model: a few calls that check the meaning of its outputs.

All models that are not trained here go through it before they are measured. A result must depend on its own
input alone: not on chance, the other images of the batch, or earlier calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.codes import Shape
from latentbench.models.protocols import Autoencoder, ImageTextModel, Posterior
from latentbench.models.source_code.resolve_object import running_user_code

TOLERANCE = 1e-3
"""The distance that a pixel may lie outside [0, 1], an embedding's length from 1, and a repeated result
from the first (relative to its largest value)."""
LOW_PRECISION_TOLERANCE = 3e-2
"""The same for repeated results of models in half precision, whose rounding depends on the batch size."""


def trial_images(data: ImageData) -> Tensor:
    """Return two different images in [0, 1], `[2, C, H, W]`: test images, or one and its negative."""
    first, second = data.test.images[0], data.test.images[1 % len(data.test)]
    return torch.stack([first, 255 - first if torch.equal(first, second) else second]).float() / 255


def in_range(images: Tensor) -> Tensor:
    """Clamp pixels that leave [0, 1] by rounding, up to the tolerance; leave others to be reported.

    >>> in_range(torch.tensor([-0.0005, 0.5, 1.2])).tolist() == [0.0, 0.5, torch.tensor(1.2).item()]
    True
    """
    clamped = images.clamp(0, 1)
    return torch.where((images - clamped).abs() <= TOLERANCE, clamped, images)


@dataclass(frozen=True)
class Trial:
    """The checks of one model; each raises LatentbenchError that begins with `where`."""

    where: str
    tolerance: float = TOLERANCE
    """The relative tolerance of repeated results."""

    def autoencoder(self, model: Autoencoder, x: Tensor) -> Shape:
        """Try `encode` and `decode` on two images `[2, C, H, W]`; return the shape of the code."""
        with running_user_code(f"{self.where}: encode"):
            posterior = model.encode(x)
        mean = posterior.mean
        self._must(
            2 <= mean.ndim <= 4 and len(mean) == len(x) and mean.numel() > 0,
            "encode",
            str(list(mean.shape)),
            f"[{len(x)}, D], a grid [{len(x)}, C, h, w] or tokens [{len(x)}, T, C]",
        )
        if posterior.log_var is not None:
            shapes = f"log_var {list(posterior.log_var.shape)}", f"{list(mean.shape)} as of the mean"
            self._must(posterior.log_var.shape == mean.shape, "encode", *shapes)
        self._finite(_numbers(posterior), "encode")
        self._repeatable("encode", lambda rows: _numbers(model.encode(rows)), x, _numbers(posterior))
        self._decoder(model, mean, x)
        return tuple(mean.shape[1:])

    def image_text(self, model: ImageTextModel, x: Tensor, captions: Sequence[str]) -> Shape:
        """Try both towers on images `[N, C, H, W]` and as many captions; return the shape of a vector."""
        with running_user_code(f"{self.where}: encode_image"):
            image = model.encode_image(x)
        width = image.shape[1] if image.ndim == 2 else 0
        self._embedding("encode_image", image, len(x), width)
        self._repeatable("encode_image", model.encode_image, x, image)
        with running_user_code(f"{self.where}: encode_text"):
            text = model.encode_text(captions)
        self._embedding("encode_text", text, len(captions), width)
        rows = torch.arange(len(captions))
        self._repeatable(
            "encode_text", lambda chosen: model.encode_text([captions[row] for row in chosen]), rows, text
        )
        return (width,)

    def _decoder(self, model: Autoencoder, codes: Tensor, x: Tensor) -> None:
        with running_user_code(f"{self.where}: decode"):
            model.encode(x)
            image = model.decode(codes)
        self._must(image.shape == x.shape, "decode", str(list(image.shape)), str(list(x.shape)))
        self._finite(image, "decode")
        low, high = image.min().item(), image.max().item()
        self._must(
            low >= -TOLERANCE and high <= 1 + TOLERANCE,
            "decode",
            f"values from {low:.4g} to {high:.4g}",
            "all within [0, 1] (end with a sigmoid or a clamp)",
        )
        self._same_twice("decode", model.decode, codes, image)
        with running_user_code(f"{self.where}: decode"):
            model.encode(x.flip(0))
            after_others = model.decode(codes)
        self._must(
            self._close(image, after_others),
            "decode",
            "images that depend on what was encoded last",
            "images of the codes alone",
        )
        self._same_alone("decode", model.decode, codes, image)

    def _embedding(self, method: str, embedding: Tensor, rows: int, width: int) -> None:
        fits = embedding.ndim == 2 and embedding.shape == (rows, width)
        self._must(fits, method, str(list(embedding.shape)), f"[{rows}, {width or 'D'}]")
        self._finite(embedding, method)
        length = embedding.norm(dim=1)
        unit = bool(((length - 1).abs() <= self.tolerance).all())
        self._must(unit, method, f"vectors of length {length[0].item():.4g}", "length 1 (L2-normalised)")

    def _repeatable(
        self, method: str, function: Callable[[Tensor], Tensor], rows: Tensor, result: Tensor
    ) -> None:
        self._same_twice(method, function, rows, result)
        self._same_alone(method, function, rows, result)

    def _same_twice(
        self, method: str, function: Callable[[Tensor], Tensor], rows: Tensor, result: Tensor
    ) -> None:
        with running_user_code(f"{self.where}: {method}"):
            again = function(rows)
        self._must(
            self._close(result, again),
            method,
            "two results for one input",
            "the same twice (the mean, no sample; no dropout; no state that changes the result)",
        )

    def _same_alone(
        self, method: str, function: Callable[[Tensor], Tensor], rows: Tensor, result: Tensor
    ) -> None:
        with running_user_code(f"{self.where}: {method} with a batch of one"):
            alone = torch.cat([function(row) for row in rows.split(1)])
        self._must(
            self._close(result, alone),
            method,
            "results that depend on the rest of the batch",
            "the same in any batch (batch normalisation needs running statistics and evaluation mode)",
        )

    def _close(self, a: Tensor, b: Tensor) -> bool:
        if a.shape != b.shape:
            return False
        return bool((a - b).abs().max() <= self.tolerance * a.abs().max())

    def _finite(self, value: Tensor, method: str) -> None:
        self._must(bool(value.isfinite().all()), method, "values that are not finite", "finite ones")

    def _must(self, holds: bool, method: str, returned: str, expected: str) -> None:
        if not holds:
            raise LatentbenchError(f"{self.where}: {method} returned {returned}, expected {expected}")


def _numbers(posterior: Posterior) -> Tensor:
    """Return mean and log-variance side by side, `[B, values]`."""
    parts = [posterior.mean] if posterior.log_var is None else [posterior.mean, posterior.log_var]
    return torch.cat([part.flatten(1) for part in parts], dim=1)
