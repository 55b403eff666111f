"""Features of networks trained on photographs, by name: those of timm, and image towers of open_clip.

Images get the network's own preprocessing, step by step as its users apply it to image files. Features of
timm are those before the classifier, of open_clip the embeddings before normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from latentbench.analysis.features.extractors import Extractor, from_hub, weights_file
from latentbench.analysis.features.request import FeatureRequest
from latentbench.data.errors import LatentbenchError
from latentbench.data.hub import cache_unless_reachable, hub_host
from latentbench.data.registry import unknown
from latentbench.models.external import open_clip_source, state_dicts
from latentbench.models.resolver import Resolver

Preprocessing = Callable[[Image.Image], Tensor]


def load(request: FeatureRequest, resolver: Resolver) -> Extractor:
    """Load a network of timm or open_clip."""
    return _timm(request, resolver) if request.kind == "timm" else _open_clip(request, resolver)


def _timm(request: FeatureRequest, resolver: Resolver) -> Extractor:
    import timm

    if not timm.is_model(request.network):
        raise unknown("network of timm", request.network, timm.list_models())
    path = weights_file(request, resolver)
    network: Any = timm.create_model(request.network, pretrained=False)
    if path is not None:
        state = state_dicts.read(path, allow_pickle=resolver.allow_pickle).state
        state_dicts.apply(network, state, f"{request.name}: {path.name}")
    else:
        with from_hub(request, hub_host()), cache_unless_reachable():
            network = timm.create_model(request.network, pretrained=True)
    transforms: Any = timm.data
    preprocess = transforms.create_transform(**transforms.resolve_model_data_config(network))
    network.reset_classifier(0)
    return Extractor.of(request.name, network, _reader(preprocess, _features))


def _features(network: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = network(images)
    return found


def _open_clip(request: FeatureRequest, resolver: Resolver) -> Extractor:
    import open_clip

    model, _, tag = request.network.partition("/")
    if bool(tag) == bool(request.weights):
        raise LatentbenchError(
            f"feature extractor {request}: write open_clip:NAME/TAG, or open_clip:NAME?weights=FILE"
        )
    source = open_clip_source.OpenClipSource(model=model, tag=tag or None, checkpoint=request.weights)
    open_clip_source.check_known(source)
    if tag:
        with from_hub(request, hub_host()), cache_unless_reachable():
            loaded = open_clip_source.load(source, resolver)
    else:
        loaded = open_clip_source.load(source, resolver)
    towers = open_clip_source.build(loaded.config)
    state_dicts.apply(towers, loaded.weights.state, request.name)
    settings = open_clip.transform.PreprocessCfg(**loaded.config["preprocess_cfg"])
    preprocess = open_clip.transform.image_transform_v2(settings, is_train=False)
    return Extractor.of(request.name, towers, _reader(preprocess, _embeddings))


def _embeddings(network: Any, images: Tensor) -> Tensor:
    found: Tensor = network.encode_image(images)
    return found


def _reader(
    preprocess: Preprocessing, network_features: Callable[[nn.Module, Tensor], Tensor]
) -> Callable[[nn.Module, Tensor], Tensor]:
    """Return a function from uint8 images to features: preprocessing is of image files, one by one."""

    def read(network: nn.Module, images: Tensor) -> Tensor:
        files = [Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in images]
        return network_features(network, torch.stack([preprocess(file) for file in files]).to(images.device))

    return read
