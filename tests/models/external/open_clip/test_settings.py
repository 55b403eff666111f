"""Pretrained models of open_clip keep the settings that they state: activation, preprocessing, size."""

import json
import re
import tarfile

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from shared.tiny_clip import TINY, loaded, resolved

from latentbench.data import load
from latentbench.data.errors import LatentbenchError
from latentbench.models import zoo
from latentbench.models.external import open_clip_source


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


def test_a_node_without_the_local_folder_reads_text(data, folder):
    """Its weights travel, and the tokenizer of CLIP needs no other files."""
    place, _ = local_folder(folder, TINY, {})
    spec = resolved(data, folder, model="local-dir:published", checkpoint=None)
    here = loaded(spec, data).model.encode_text(["a photo of a cat."])
    place.rename(folder / "elsewhere")
    assert torch.equal(loaded(spec, data).model.encode_text(["a photo of a cat."]), here)


def test_a_node_without_the_files_of_a_tokenizer_says_so(tmp_path):
    config = {"text_cfg": {"hf_tokenizer_name": "words"}}
    with pytest.raises(LatentbenchError, match="does not have this folder with its tokenizer; copy it"):
        open_clip_source.tokenizer(f"local-dir:{tmp_path / 'gone'}", config, 12)


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


@pytest.mark.parametrize("size", [32, [48, 32]])
@pytest.mark.parametrize("shape", [(35, 701), (701, 35)])
def test_long_originals_are_scaled_as_open_clip_does(size, shape):
    """They are 20 times as long as wide."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    settings = {"size": size, "mean": [0, 0, 0], "std": [1, 1, 1], "resize_mode": "shortest"}
    sides = (size, size) if isinstance(size, int) else tuple(size)
    ours = np.asarray(open_clip_source.OpenClipTransform(settings, sides)(image))
    theirs = image_transform_v2(PreprocessCfg(**settings), is_train=False)(image)
    assert np.array_equal(ours, (theirs * 255).round().permute(1, 2, 0).numpy())


def without_words(kind, folder):
    """The images without templates, from each kind of place: `(images, names of their classes)`."""
    images = folder / "images"
    (images / "classes.txt").unlink()
    if kind == "wds":
        with tarfile.open(folder / "0.tar", "w") as tar:
            for number, file in enumerate(sorted(images.glob("*/*.png"))):
                tar.add(file, f"{number}.png")
        return f"wds:{folder / '0.tar'}"
    if kind == "hf":
        datasets = pytest.importorskip("datasets")
        rows = {"image": list(map(str, sorted(images.glob("*/*.png"))))}
        rows = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        datasets.DatasetDict({"test": rows}).save_to_disk(folder / "saved")
        return f"hf:{folder / 'saved'}"
    return f"folder:{images}"


@pytest.mark.parametrize("kind", ["folder", "wds", "hf"])
def test_images_read_smaller_than_the_model_s_size_are_refused(kind, folder):
    """Only those that have no files at hand: images to be recognised by name are read at their own size."""
    place = without_words(kind, folder)
    wide = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "image_size": 64}}
    local_folder(folder, wide, {})
    for given, side in ((f"{place}?split=test&limit=5", 28), (f"{place}?size=32&limit=5&split=test", 32)):
        remedy = re.escape(f"{place}?size=64&limit=5&split=test")
        message = rf"takes images of 64 pixels, .* read at {side}; use {remedy}$"
        with pytest.raises(LatentbenchError, match=message):
            resolved(load(given), folder, model="local-dir:published", checkpoint=None)
    large = load(f"{place}?size=64&split=test")
    assert resolved(large, folder, model="local-dir:published", checkpoint=None).latent_dim == 16


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
        (
            {"model": "hf-hub:no/where"},
            r"hf-hub:no/where: its open_clip_config.json .* connect .* write model: local-dir:FOLDER$",
        ),
    ],
)
def test_a_missing_location_is_named(source, message, data, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(LatentbenchError, match=message):
        resolved(data, folder, checkpoint=None, **source)


def test_remedies_for_a_local_folder_need_no_network(data, folder):
    place, _ = local_folder(folder, TINY, {})
    published = {"model": "local-dir:published", "checkpoint": None}
    weights = place / "open_clip_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    remedy = (
        "; the weights in the folder must be complete, and of the architecture in its open_clip_config.json$"
    )
    with pytest.raises(LatentbenchError, match=rf"weights could not be loaded .*{remedy}"):
        resolved(data, folder, **published)
    weights.write_bytes(whole)
    other = {"model_cfg": {**TINY, "embed_dim": 24}, "preprocess_cfg": {}}
    (place / "open_clip_config.json").write_text(json.dumps(other))
    with pytest.raises(LatentbenchError, match=rf"weights could not be loaded .*{remedy}"):
        resolved(data, folder, **published)


def test_a_missing_tokenizer_is_named(data, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    text = {**TINY["text_cfg"], "hf_tokenizer_name": "no/tokenizer"}
    local_folder(folder, {**TINY, "text_cfg": text}, {})
    with pytest.raises(
        LatentbenchError,
        match=r"its tokenizer no/tokenizer could not be loaded \(.*write hf_tokenizer_name: FOLDER",
    ):
        resolved(data, folder, model="local-dir:published", checkpoint=None)


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
