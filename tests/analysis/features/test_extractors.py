"""Extractors see images as their users do, and say in one line what is missing."""

import lpips
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from latentbench.analysis.features import inception
from latentbench.analysis.features.extractors import Absent, load
from latentbench.analysis.features.request import parse, parse_all
from latentbench.data.errors import LatentbenchError

PALACE, DAISY = (698, 0.298), (985, 0.323)
"""Class and probability of scikit-learn's china.jpg and flower.jpg."""


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """A machine without weights and without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", _refused)


def _refused(*_, **__):
    raise OSError("no network")


def test_inception_equals_torch_fidelity(photographs, random_inception, tmp_path):
    pickled = tmp_path / "weights.pth"
    torch.save(safetensors.torch.load_file(random_inception), pickled)
    theirs = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(pickled))
    ours = load(parse(f"inception?weights={random_inception}"))
    expected = theirs(photographs[:2])[0]
    assert torch.equal(ours.features(photographs[:2].float() / 255), expected)
    assert ours.features(photographs[:1, :1].float() / 255).shape == (1, 2048)


def test_lpips_equals_its_package(photographs, random_alex):
    ours = load(parse(f"lpips:alex?weights={random_alex}"))
    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    random = safetensors.torch.load_file(random_alex)
    slices = [module for name, module in theirs.net.named_children() if name.startswith("slice")]
    for module in slices:
        for number, layer in module.named_children():
            if f"features.{number}.weight" in random:
                layer.load_state_dict({k: random[f"features.{number}.{k}"] for k in ("weight", "bias")})
    x, y = photographs[:4].float() / 255, photographs[4:8].float() / 255
    with torch.no_grad():
        expected = theirs(x, y, normalize=True).flatten()
    assert torch.allclose(ours.between(x, y), expected, rtol=1e-5)
    assert ours.between(x, x).abs().max() == 0


def test_timm_sees_photographs_as_its_users_do(lite0):
    from sklearn.datasets import load_sample_images

    ours = load(parse(f"timm:tf_efficientnet_lite0?weights={lite0}"))
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    network.load_state_dict(safetensors.torch.load_file(lite0))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    for image, known in zip(load_sample_images().images, (PALACE, DAISY), strict=True):
        with torch.no_grad():
            maps = network.forward_features(transform(Image.fromarray(image))[None])
            expected = network.forward_head(maps, pre_logits=True)
            probability, best = network.classifier(expected).softmax(1).max(1)
        assert (int(best), float(probability)) == (known[0], pytest.approx(known[1], abs=0.01))
        given = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
        assert torch.allclose(ours.features(given), expected, atol=1e-5)


def test_weights_identify_an_extractor(random_inception, tmp_path):
    state = safetensors.torch.load_file(random_inception)
    state["fc.bias"] = state["fc.bias"] + 1
    safetensors.torch.save_file(state, tmp_path / "other.safetensors")
    one, same, other = (
        load(parse(f"inception?weights={path}")).sha256
        for path in (random_inception, random_inception, tmp_path / "other.safetensors")
    )
    assert one == same != other


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize("name", ["inception", "timm:resnet18", "open_clip:ViT-B-32/openai", "lpips:vgg"])
def test_absent_weights_are_named_with_the_remedy(name):
    found = load(parse(name))
    assert isinstance(found, Absent)
    assert found.sha256 is None
    assert "cannot be reached" in found.reason
    assert f"{name.partition('/')[0]}?weights=FILE" in found.reason
    assert "\n" not in found.reason


def test_weights_of_another_architecture_are_refused(lite0, random_alex):
    wrong = [
        ("inception", lite0),
        ("timm:resnet18", lite0),
        ("lpips:alex", lite0),
        ("lpips:vgg", random_alex),
    ]
    for name, path in wrong:
        with pytest.raises(LatentbenchError, match=r"does not fit|the model's is") as error:
            load(parse(f"{name}?weights={path}"))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("incepton", "unknown feature extractor 'incepton'; did you mean 'inception'"),
        ("timm", "write timm:NAME"),
        ("inception:v3", "write inception"),
        ("inception?file=x", "'file=x' must be weights=FILE"),
        ("inception?weights=", "must be weights=FILE"),
    ],
)
def test_malformed_requests_are_refused(text, message):
    with pytest.raises(LatentbenchError, match=message.replace("?", r"\?")):
        parse(text)


def test_unknown_networks_are_refused():
    for text, message in [
        ("timm:resnet17", "unknown network of timm 'resnet17'; did you mean"),
        ("lpips:alexnet", "unknown network of lpips 'alexnet'; did you mean 'alex'"),
        ("open_clip:ViT-B-32/opena", "unknown tag 'opena'; did you mean 'openai'"),
        ("open_clip:ViT-B-32", "write open_clip:NAME/TAG"),
        ("inception?weights=nowhere.safetensors", "no such file"),
    ]:
        with pytest.raises(LatentbenchError, match=message):
            load(parse(text))


def test_one_name_cannot_be_requested_twice():
    with pytest.raises(LatentbenchError, match="'inception' is given twice"):
        parse_all(["inception", "inception?weights=other.safetensors"])


def test_features_round_images_to_eight_bits(photographs, random_inception):
    ours = load(parse(f"inception?weights={random_inception}"))
    exact = photographs[:1].float() / 255
    assert torch.equal(ours.features(exact + 0.4 / 255), ours.features(exact))


def test_untrained_inception_is_torch_fidelitys_class():
    assert type(inception.untrained()) is FeatureExtractorInceptionV3
