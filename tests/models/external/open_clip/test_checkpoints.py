"""Pretrained models of open_clip: a checkpoint that was saved locally, or an error that says what to do."""

import json

import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from shared.tiny_clip import TINY, loaded, resolved

from latentbench.bench.run import suite
from latentbench.data import load
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import zoo
from latentbench.models.resolver import Resolver


def test_it_is_the_model_of_the_checkpoint_to_the_last_digit(data, folder, towers):
    spec = resolved(data, folder)
    assert (spec.latent_dim, spec.label) == (16, "tiny tiny")
    model = loaded(spec, data).model
    transform = image_transform_v2(PreprocessCfg(size=32), is_train=False)
    pixels = torch.stack(
        [transform(Image.open(path)) for path in sorted((folder / "images").glob("*/*.png"))]
    )
    tokens = open_clip.get_tokenizer("", context_length=12)(["a photo of a cat."])
    with torch.inference_mode():
        expected = towers.encode_image(pixels, normalize=True)
        assert torch.allclose(model.encode_image(data.test.images.float() / 255), expected, atol=1e-6)
        text = towers.encode_text(tokens, normalize=True)
        # Together with a longer text, which leaves it another padding.
        ours = model.encode_text(["a photo of a cat.", "a photo of a small cat in a tree"])[:1]
        assert torch.allclose(ours, text, atol=1e-6)
    assert model.scale.item() == pytest.approx(1 / 0.07)


def test_the_record_has_what_moves_the_number(data, folder):
    spec = resolved(data, folder)
    assert spec.preprocessing == {
        "size": [32, 32],
        "mode": "RGB",
        "mean": list(open_clip.OPENAI_DATASET_MEAN),
        "std": list(open_clip.OPENAI_DATASET_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    assert spec.precision == "fp32"
    assert len(spec.checkpoint_sha256) == 64
    assert spec.architecture["embed_dim"] == 16
    assert zoo.model_spec(**json.loads(spec.model_dump_json())) == spec


def test_grey_images_of_another_size_are_brought_to_the_models(data, folder):
    model = loaded(resolved(data, folder), data).model
    with torch.inference_mode():
        grey = model.encode_image(torch.rand(2, 1, 28, 28))
    assert grey.norm(dim=1).tolist() == pytest.approx([1, 1])


def test_texts_in_many_batches_are_those_of_one(data, folder, monkeypatch):
    model = loaded(resolved(data, folder), data).model
    texts = [f"number {n}" for n in range(7)]
    with torch.inference_mode():
        whole = model.encode_text(texts)
        monkeypatch.setattr("latentbench.models.external.open_clip.TEXT_BATCH", 3)
        assert torch.allclose(model.encode_text(texts), whole, atol=1e-6)


def test_a_pickle_is_read_only_if_asked_for(data, folder, towers):
    torch.save({"state_dict": {f"module.{k}": v for k, v in towers.state_dict().items()}}, folder / "tiny.pt")
    with pytest.raises(LatentbenchError, match="is a pickle"):
        resolved(data, folder, checkpoint="tiny.pt")
    assert resolved(data, folder, checkpoint="tiny.pt", allow_pickle=True).latent_dim == 16


def test_a_caption_longer_than_the_context_is_refused_first(data, folder):
    model = loaded(resolved(data, folder), data).model
    with pytest.raises(LatentbenchError, match=r"'a a a a.*longer than the 12 tokens of tiny tiny"):
        model.encode_text(["short", "a " * 11])
    assert model.encode_text(["a " * 10]).shape == (1, 16)
    (folder / "images" / "templates.txt").write_text("a " * 12 + "{}\n")
    with pytest.raises(LatentbenchError, match="longer than the 12 tokens"):
        resolved(load(f"folder:{folder / 'images'}?size=32"), folder)


# Never random weights


def test_weights_of_another_architecture_are_refused(data, folder):
    wider = {**TINY, "embed_dim": 24}
    (folder / "wider.json").write_text(json.dumps(wider))
    with pytest.raises(LatentbenchError, match=r"tiny\.safetensors.* is \[.*model: wider\.json must be the"):
        resolved(data, folder, model="wider.json")
    deeper = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "layers": 2}}
    (folder / "deeper.json").write_text(json.dumps(deeper))
    with pytest.raises(
        LatentbenchError, match=r"does not fit the model: lacks 'visual\.transformer\.resblocks\.1"
    ):
        resolved(data, folder, model="deeper.json")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"model": "ViT-B-32", "checkpoint": None}, "neither tag nor checkpoint.* tag: openai, laion"),
        (
            {"model": "ViT-B-32", "checkpoint": None, "tag": "openay"},
            "unknown tag 'openay'; did you mean 'openai'",
        ),
        ({"model": "ViT-B-33"}, "unknown open_clip model 'ViT-B-33'; did you mean 'ViT-B-32'"),
        ({"model": "none.json"}, "no readable JSON architecture"),
        ({"checkpoint": "none.safetensors"}, r"none\.safetensors: no such file"),
    ],
)
def test_missing_source_is_named_with_the_remedy(data, folder, source, message):
    with pytest.raises(LatentbenchError, match=message):
        resolved(data, folder, **source)


def test_a_file_that_is_no_architecture_is_refused(data, folder):
    (folder / "tiny.json").write_text('{"embed_dim": 4}')
    with pytest.raises(LatentbenchError, match="not an open_clip architecture"):
        resolved(data, folder)
    (folder / "tiny.json").write_text(json.dumps({**TINY, "text_cfg": {"wdith": 3}}))
    with pytest.raises(LatentbenchError, match=r"cannot be built by open_clip: TypeError.*wdith"):
        resolved(data, folder)


def test_no_network_is_an_error_that_names_the_remedy(data, folder, monkeypatch):
    """The smallest of open_clip's models, whose tag is not on this machine."""
    monkeypatch.setenv("HF_HOME", str(folder / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
    with pytest.raises(
        LatentbenchError,
        match=r"ViT-B-32, tag laion2b_s34b_b79k: its weights could not be loaded .* checkpoint:",
    ):
        resolved(data, folder, model="ViT-B-32", tag="laion2b_s34b_b79k", checkpoint=None)


def test_unresolved_weights_are_not_trained(data, folder):
    spec = zoo.model_spec(pretrained={"model": "tiny.json", "checkpoint": "tiny.safetensors"})
    bare = spec.model_copy(update={"architecture": TINY})
    with pytest.raises(LatentbenchError, match="weights unknown"):
        loaded(bare, data)


def test_what_the_suite_says_is_checked(data, folder):
    spec = zoo.model_spec(pretrained={"model": "tiny.json", "checkpoint": "tiny.safetensors"}, latent_dim=8)
    with pytest.raises(LatentbenchError, match="latent_dim is 16, not 8 as the suite says"):
        zoo.resolve(spec, data, Resolver(folder))


def test_training_without_train_images_is_refused(data):
    with pytest.raises(LatentbenchError, match="has only test images, and pca-2 has to be trained"):
        zoo.resolve(zoo.model_spec(family="pca", latent_dim=2), data)


def test_a_suite_may_call_it_a_clip():
    text = "description: x\nmodels: [{family: clip, pretrained: {model: ViT-B-32, tag: openai}}]"
    (entry,) = suite.parse(text, name="my", where="my.yaml").entries
    assert (entry.spec.family, entry.spec.label) == ("pretrained", "ViT-B-32 openai")
    with pytest.raises(LatentbenchError, match=r"models\[0\]: family 'pretrained': .*tga"):
        suite.parse(text.replace("tag:", "tga:"), name="my", where="my.yaml")


def test_data_without_classes_can_still_be_encoded(folder):
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    data = ImageData("plain", Split(images, None), Split(images, None), ())
    assert resolved(data, folder).latent_dim == 16
