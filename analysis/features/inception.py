"""The network behind the FID that papers report: Inception of torch-fidelity, with TensorFlow 1's resizing.

Its features are the 2048 values of the last pooling, in torch-fidelity's code and with its weights, so that
a Fréchet distance equals that of torch-fidelity on the same images.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentbench.analysis.features.extractors import (
    BATCH,
    EXTRA,
    Extractor,
    Unavailable,
    colour,
    from_hub,
    full_precision,
    weights_file,
)
from latentbench.analysis.features.request import FeatureRequest
from latentbench.data.errors import missing_package
from latentbench.models.external import state_dicts
from latentbench.models.resolver import Resolver

LAYER = "2048"
SIDE = 299


def load(request: FeatureRequest, resolver: Resolver) -> Extractor:
    """Load the network with torch-fidelity's weights, or those of a local file."""
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as fidelity
    except ImportError:
        raise Unavailable(missing_package("inception", "torch-fidelity", EXTRA)) from None
    path = weights_file(request, resolver)
    if path is not None:
        state = state_dicts.read(path, allow_pickle=resolver.allow_pickle).state
    else:
        with from_hub(request, "github.com"):
            state = torch.hub.load_state_dict_from_url(
                fidelity.URL_INCEPTION_V3, progress=False, check_hash=True, weights_only=True
            )
    return Extractor.of(request.name, built(state), read)


def built(state: dict[str, Tensor]) -> nn.Module:
    """Build torch-fidelity's network with these weights. Raises LatentbenchError if they do not fit."""
    network = untrained()
    state_dicts.apply(network, state, "inception")
    return network


def untrained() -> nn.Module:
    """Build torch-fidelity's network with random weights: its constructor can only read them from a file."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):  # type: ignore[misc]
        """The network, whose constructor finds nothing to load."""

        def load_state_dict(self, *_: Any, **__: Any) -> None:
            """Keep the weights of the first call, inside of the constructor."""

    with tempfile.TemporaryDirectory() as folder:
        nothing = Path(folder) / "nothing.pth"
        torch.save({}, nothing)
        network: nn.Module = Untrained("inception", [LAYER], feature_extractor_weights_path=str(nothing))
    network.__class__ = FeatureExtractorInceptionV3
    return network


def read(network: nn.Module, images: Tensor) -> Tensor:
    """Compute the features of uint8 images `[N, 3, H, W]`: `[N, 2048]`."""
    (features,) = network(images)
    found: Tensor = features
    return found


@torch.inference_mode()
def features_of_floats(
    extractor: Extractor, images: Tensor, *, as_pytorch_fid: bool, device: torch.device | str = "cpu"
) -> Tensor:
    """Compute the features of float images in [0, 1] that are not rounded to 8 bits.

    `as_pytorch_fid` resizes and centres pixels as the package pytorch-fid does: torch's bilinear filter, and
    2x − 1 instead of (255x − 128) / 128.
    """
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    layers = [layer for name, layer in extractor.network.to(device).named_children() if name != "fc"]
    found = []
    with full_precision():
        for batch in colour(images).split(BATCH):
            batch = batch.to(device)
            if as_pytorch_fid:
                pixels = 2 * F.interpolate(batch, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1
            else:
                resized = interpolate_bilinear_2d_like_tensorflow1x(
                    255 * batch, size=(SIDE, SIDE), align_corners=False
                )
                pixels = (resized - 128) / 128
            for layer in layers:
                pixels = layer(pixels)
            found.append(pixels.flatten(1).cpu())
    return torch.cat(found)
