"""Pretrained models of open_clip: a checkpoint that was saved locally, or an error that says what to do."""

import json

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from latentbench.bench.run import suite
from latentbench.data import load
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import zoo
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def towers():
    torch.manual_seed(0)
    return open_clip.CLIP(**TINY).eval()


@pytest.fixture
def folder(tmp_path, towers, monkeypatch):
    """A suite's folder with an architecture, weights of it and images with names."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    safetensors.torch.save_model(towers, tmp_path / "tiny.safetensors")
    images = tmp_path / "images"
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (images / name).mkdir(parents=True)
        for index in range(3):
            Image.fromarray(draws.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
                images / name / f"{index}.png"
            )
    (images / "classes.txt").write_text("cat\ndog\n")
    return tmp_path


@pytest.fixture
def data(folder):
    return load(f"folder:{folder / 'images'}?size=32")


def resolved(data, folder, *, allow_pickle=False, **source):
    settings = {"model": "tiny.json", "checkpoint": "tiny.safetensors", **source}
    settings = {name: value for name, value in settings.items() if value is not None}
    spec = zoo.model_spec(family="clip", pretrained=settings)
    return zoo.resolve(spec, data, Resolver(folder, allow_pickle))


def loaded(spec, data):
    return zoo.train_or_load(zoo.Training(spec, Recipe(), 0), data)


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
def test_what_is_not_there_is_named_with_the_remedy(data, folder, source, message):
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


# The model's own settings


def local_folder(tmp_path, model_cfg, preprocess_cfg, *, weights="open_clip_model.safetensors"):
    """A folder in the format of open_clip and of the hub, with random weights; and its model by open_clip."""
    place = tmp_path / "published"
    place.mkdir()
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (place / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    model = open_clip.create_model(f"local-dir:{place}", load_weights=False).eval()
    if weights.endswith(".safetensors"):
        safetensors.torch.save_model(model, str(place / weights))
    else:
        torch.save(model.state_dict(), place / weights)
    return place, open_clip.create_model(f"local-dir:{place}", require_pretrained=True).eval()


def transform_of(model):
    stated = open_clip.get_model_preprocess_cfg(model) or {"size": 32}
    return image_transform_v2(PreprocessCfg(**stated), is_train=False)


def pictures_in(data):
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in data.test.images]


@pytest.mark.parametrize("path", ["published", "./published"])
def test_a_local_folder_has_the_settings_that_it_states(path, data, folder):
    stated = {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bilinear"}
    _, theirs = local_folder(folder, {**TINY, "quick_gelu": True}, stated)
    spec = resolved(data, folder, model=f"local-dir:{path}", checkpoint=None)
    assert spec.label == "published"
    assert {name: spec.preprocessing[name] for name in stated} == stated
    assert spec.architecture["quick_gelu"] is True
    model = loaded(spec, data).model
    pixels = torch.stack([transform_of(theirs)(picture) for picture in pictures_in(data)])
    tokens = open_clip.get_tokenizer(f"local-dir:{folder / 'published'}")(["a photo of a cat."])
    with torch.inference_mode():
        ours = model.encode_image(data.test.images.float() / 255)
        assert torch.allclose(ours, theirs.encode_image(pixels, normalize=True), atol=1e-5)
        text = theirs.encode_text(tokens, normalize=True)
        assert torch.allclose(model.encode_text(["a photo of a cat."]), text, atol=1e-5)


def test_quick_gelu_changes_the_embedding(data, folder):
    """The settings above matter: the plain activation differs by far more than their tolerance."""
    _, quick = local_folder(folder, {**TINY, "quick_gelu": True}, {})
    plain = open_clip.CLIP(**TINY).eval()
    plain.load_state_dict(quick.state_dict())
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert (plain.encode_image(x) - quick.encode_image(x)).abs().max() > 1e-3


def quick_tags():
    return [
        (model, tag)
        for model, tag in open_clip.list_pretrained()
        if open_clip.get_pretrained_cfg(model, tag).get("quick_gelu")
    ]


@pytest.mark.parametrize(("model", "tag"), [("ViT-B-32", "laion400m_e32"), ("RN50", "yfcc15m")])
def test_a_tag_with_quick_gelu_gets_a_quick_gelu_tower(model, tag, data, folder, monkeypatch):
    """The architecture is replaced by a tiny one of the same name; the tag's settings are open_clip's."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, model, TINY)
    assert (model, tag) in quick_tags()
    spec = resolved(data, folder, model=model, tag=tag)
    quick = open_clip.CLIP(**TINY, quick_gelu=True).eval()
    quick.load_state_dict(safetensors.torch.load_file(folder / "tiny.safetensors"))
    pixels = torch.stack([transform_of(quick)(picture) for picture in pictures_in(data)])
    with torch.inference_mode():
        ours = loaded(spec, data).model.encode_image(data.test.images.float() / 255)
        assert torch.allclose(ours, quick.encode_image(pixels, normalize=True), atol=1e-5)


def test_a_tag_s_preprocessing_is_used_with_a_local_file(data, folder, monkeypatch):
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "MobileCLIP-B", TINY)
    spec = resolved(data, folder, model="MobileCLIP-B", tag="datacompdr")
    assert spec.preprocessing["mean"] == [0, 0, 0]
    assert spec.preprocessing["std"] == [1, 1, 1]
    assert spec.preprocessing["interpolation"] == "bilinear"
    x = data.test.images.float() / 255
    assert torch.equal(loaded(spec, data).model.preprocessed(x), x)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [32, [48, 32]])
def test_images_are_resized_as_the_model_states(mode, size, data, folder):
    towers = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "image_size": size}}
    stated = {"resize_mode": mode, "fill_color": 255, "interpolation": "bilinear"}
    _, theirs = local_folder(folder, towers, stated)
    transform = transform_of(theirs)
    square = load(f"folder:{folder / 'images'}?size=64")
    spec = resolved(square, folder, model="local-dir:published", checkpoint=None)
    expected = torch.stack([transform(picture) for picture in pictures_in(square)])
    ours = loaded(spec, square).model.preprocessed(square.test.images.float() / 255)
    assert ours.shape == expected.shape
    # PIL rounds to whole levels between its two passes.
    assert (ours - expected).abs().mean() < 0.008


def test_images_read_smaller_than_the_model_s_size_are_refused(folder):
    """Only those that have no files at hand: images to be recognised by name are read at their own size."""
    (folder / "images" / "classes.txt").unlink()
    data = load(f"folder:{folder / 'images'}?size=32")
    wide = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "image_size": 64}}
    local_folder(folder, wide, {})
    with pytest.raises(LatentbenchError, match=r"takes images of 64 pixels, .* read at 32; use .*\?size=64"):
        resolved(data, folder, model="local-dir:published", checkpoint=None)


def test_a_folder_of_pickles_is_read_only_if_allowed(data, folder):
    _, theirs = local_folder(folder, TINY, {}, weights="open_clip_pytorch_model.bin")
    with pytest.raises(LatentbenchError, match=r"no \*\.safetensors in .* --allow-pickle"):
        resolved(data, folder, model="local-dir:published", checkpoint=None)
    spec = resolved(data, folder, model="local-dir:published", checkpoint=None, allow_pickle=True)
    assert torch.equal(loaded(spec, data).model.towers.visual.proj, theirs.visual.proj)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"model": "local-dir:none"}, "local-dir:none: no open_clip_config.json in "),
        ({"model": "hf-hub:no/where"}, "hf-hub:no/where: its weights could not be loaded"),
    ],
)
def test_a_missing_location_is_named(source, message, data, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(LatentbenchError, match=message):
        resolved(data, folder, checkpoint=None, **source)


def test_a_location_that_brings_weights_takes_no_others():
    with pytest.raises(LatentbenchError, match="tag and checkpoint have no effect"):
        zoo.model_spec(pretrained={"model": "local-dir:x", "checkpoint": "tiny.safetensors"})


def test_images_of_336_pixels_reach_the_model_unchanged(folder):
    board = np.indices((336, 336)).sum(0) % 2 * 255
    for name in ("cat", "dog"):
        Image.fromarray(np.stack([board] * 3, axis=2).astype(np.uint8)).save(
            folder / "images" / name / "b.png"
        )
    wide = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "image_size": 336, "patch_size": 112}}
    local_folder(folder, wide, {"mean": [0, 0, 0], "std": [1, 1, 1]})
    large = load(f"folder:{folder / 'images'}?size=336")
    spec = resolved(large, folder, model="local-dir:published", checkpoint=None)
    seen = loaded(spec, large).model.preprocessed(large.test.images.float() / 255)
    contrasts = (seen.amax((1, 2, 3)) - seen.amin((1, 2, 3))).tolist()
    boards = [image for image in seen if float((image[:, :, 1:] - image[:, :, :-1]).abs().mean()) > 0.99]
    assert len(boards) == 2
    assert max(contrasts) == 1
