"""LPIPS: the distance of two images in the layers of a network, weighted to agree with people.

Zhang et al. 2018 (arXiv:1801.03924), by the package `lpips`, version 0.1. The package has the weights of
the layers; those of the network below are torchvision's, from its hub or from a local file.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from latentbench.analysis.features.extractors import EXTRA, Distance, Unavailable, from_hub, weights_file
from latentbench.analysis.features.request import FeatureRequest
from latentbench.data.errors import missing_package
from latentbench.data.registry import unknown
from latentbench.models.external import state_dicts
from latentbench.models.resolver import Resolver

NETWORKS = {
    "alex": ("AlexNet_Weights", 31),
    "vgg": ("VGG16_Weights", 16),
    "squeeze": ("SqueezeNet1_1_Weights", 24),
}
"""The name of torchvision's weights, and the smallest side of an image, by network."""


def load(request: FeatureRequest, resolver: Resolver) -> Distance:
    """Load LPIPS on a network with torchvision's weights, or those of a local file in torchvision's form."""
    if request.network not in NETWORKS:
        raise unknown("network of lpips", request.network, list(NETWORKS))
    try:
        import lpips
    except ImportError:
        raise Unavailable(missing_package(request.name, "lpips", EXTRA)) from None
    path = weights_file(request, resolver)
    if path is not None:
        state: Mapping[str, Tensor] = state_dicts.read(path, allow_pickle=resolver.allow_pickle).state
    else:
        state = _published(request)
    with warnings.catch_warnings(action="ignore"):
        network: Any = lpips.LPIPS(net=request.network, pnet_rand=True, verbose=False)
    state_dicts.apply(network.net, _in_slices(network.net, state), f"{request.name}")
    return Distance.of(request.name, network, NETWORKS[request.network][1])


def _published(request: FeatureRequest) -> Mapping[str, Tensor]:
    from torchvision import models

    weights = getattr(models, NETWORKS[request.network][0]).IMAGENET1K_V1
    with from_hub(request, "download.pytorch.org"):
        state: Mapping[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    return state


def _in_slices(network: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename torchvision's `features.0.weight` to `slice1.0.weight`, as the network of lpips has them.

    Layers after the last slice and the classifier are left out. A state dict without `features` is left as
    it is, and does not fit.
    """
    names = {re.sub(r"^slice\d+", "features", name): name for name in network.state_dict()}
    renamed = {names[name]: tensor for name, tensor in state.items() if name in names}
    return renamed or dict(state)
