"""Networks whose features compare photographs, next to the judges: Inception, timm, open_clip and LPIPS.

A network sees what its users give it: images of 8 bits, by its own way of resizing. The sha256 of its
weights identifies it, and values by two networks are never compared.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from latentbench.analysis.features.request import KINDS, FeatureRequest, variant
from latentbench.data.errors import LatentbenchError
from latentbench.data.hub import is_reachable
from latentbench.data.reading.image_source import Sources
from latentbench.models.external.state_dicts import fingerprint
from latentbench.models.resolver import Resolver

BATCH = 32
GREY_AND_COLOUR = (1, 3)
EXTRA = "features"
"""The extra that installs the packages of networks."""


class Unavailable(LatentbenchError):
    """The error of weights or a package that are not on this machine: metrics that need them are null."""


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network that gives D features of an image."""

    name: str
    sha256: str
    """The hash of the weights: of their names, types, shapes and values."""
    network: nn.Module
    read: Callable[[nn.Module, Tensor], Tensor]
    """Maps uint8 images `[N, 3, H, W]` on the network's device to features `[N, D]`."""

    @classmethod
    def of(cls, name: str, network: nn.Module, read: Callable[[nn.Module, Tensor], Tensor]) -> Extractor:
        """Freeze a network that has its weights."""
        return cls(name, fingerprint(network.state_dict()), _frozen(network), read)

    @torch.inference_mode()
    def features(self, images: Tensor, *, device: torch.device | str = "cpu") -> Tensor:
        """Compute the features of float images in [0, 1] `[N, C, H, W]`, float32 `[N, D]`, on the CPU.

        Images are rounded to 8 bits, since the users of these networks save or hand over such images. Raises
        ValueError for images of other than 1 or 3 channels.
        """
        network = self.network.to(device)
        eight_bits = (colour(images) * 255).round().clamp(0, 255).to(torch.uint8)
        with full_precision():
            found = [self.read(network, batch.to(device)).float().cpu() for batch in eight_bits.split(BATCH)]
        return torch.cat(found)


@dataclass(frozen=True, eq=False)
class Distance:
    """A frozen network that gives the distance of two images."""

    name: str
    sha256: str
    network: nn.Module
    smallest_side: int
    """Pixels per side that the network needs."""

    @classmethod
    def of(cls, name: str, network: nn.Module, smallest_side: int) -> Distance:
        """Freeze a network that has its weights; it takes two batches of images in [−1, 1]."""
        return cls(name, fingerprint(network.state_dict()), _frozen(network), smallest_side)

    @torch.inference_mode()
    def between(self, x: Tensor, y: Tensor, *, device: torch.device | str = "cpu") -> Tensor:
        """Compute the distance of each pair of float images in [0, 1] `[N, C, H, W]`: float32 `[N]`."""
        return self.of_pairs(2 * x - 1, 2 * y - 1, device=device)

    @torch.inference_mode()
    def of_pairs(self, x: Tensor, y: Tensor, *, device: torch.device | str = "cpu") -> Tensor:
        """Compute the distance of each pair of images whose values the network gets as they are."""
        network = self.network.to(device)
        pairs = zip(colour(x).split(BATCH), colour(y).split(BATCH), strict=True)
        with full_precision():
            found = [network(a.to(device), b.to(device)).reshape(-1).float().cpu() for a, b in pairs]
        return torch.cat(found)


@dataclass(frozen=True)
class Absent:
    """Features that are not on this machine, and the reason with its remedy."""

    name: str
    reason: str
    sha256: None = None


@dataclass(frozen=True)
class ByProtocol:
    """An evaluation protocol, which metrics name as they name a network, and the images to measure by it."""

    name: str
    sha256: str
    """The hash of all choices of the protocol."""
    open_images: Callable[[], Sources]
    """Opens the images at their original size."""
    scales_as_loaded: bool = False
    """True if the images of the data are scaled as the protocol scales them."""

    @property
    def protocol(self) -> str:
        """The name of the protocol."""
        return variant(self.name)


Network = Extractor | Distance | Absent
Feature = Network | ByProtocol


def load(request: FeatureRequest, resolver: Resolver | None = None) -> Network:
    """Load the requested network. Weights that are published but not on this machine make it `Absent`.

    Raises LatentbenchError for an unknown network, and for a local file that does not fit it.
    """
    module = import_module(f"{__package__}.{KINDS[request.kind].module}")
    try:
        found: Network = module.load(request, resolver or Resolver())
    except Unavailable as reason:
        return Absent(request.name, str(reason))
    return found


def load_all(requests: Sequence[FeatureRequest], resolver: Resolver | None = None) -> tuple[Network, ...]:
    """Load every requested network, see `load`."""
    return tuple(load(request, resolver) for request in requests)


def weights_file(request: FeatureRequest, resolver: Resolver) -> Path | None:
    """Return the path of a request's local weights; None if the published ones are requested."""
    return None if request.weights is None else resolver.path(request.weights)


@contextmanager
def from_hub(request: FeatureRequest, host: str) -> Iterator[None]:
    """Turn what a download raises into one line with the remedy."""
    try:
        nowhere = io.StringIO()  # torch announces a download before it fails
        with redirect_stderr(nowhere), redirect_stdout(nowhere):
            yield
    except Exception as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        why = cause if is_reachable(host) else f"{host} cannot be reached"
        raise Unavailable(
            f"the weights of {request.name} are not on this machine ({why}); connect to the network once, "
            f"or name a local file with {request.name.partition('/')[0]}?weights=FILE"
        ) from None


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute convolutions in float32: TF32, a GPU's default, would change the third digit of features."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def colour(images: Tensor) -> Tensor:
    """Repeat grey images to three channels."""
    if images.ndim != 4 or images.shape[1] not in GREY_AND_COLOUR:
        raise ValueError(f"images must be [N, 1 or 3, H, W], got {list(images.shape)}")
    return images.expand(-1, 3, -1, -1)


def _frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)
