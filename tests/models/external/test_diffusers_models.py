"""Family diffusers: equal to diffusers to the last bit, and bad input in one line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.reconstruction import reconstruction
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import zoo
from latentbench.models.protocols import DiscreteAutoencoder
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe

diffusers = pytest.importorskip("diffusers")

WEIGHTS = "diffusion_pytorch_model.safetensors"
BLOCKS = {
    "block_out_channels": (8, 8),
    "norm_num_groups": 4,
    "down_block_types": 2 * ("DownEncoderBlock2D",),
    "up_block_types": 2 * ("UpDecoderBlock2D",),
}
TINY = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
MODELS = {
    "AutoencoderKL": {**BLOCKS, "scaling_factor": 0.3611, "shift_factor": 0.1159},
    "AutoencoderTiny": {**TINY, "num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)},
    "AutoencoderDC": {
        **TINY,
        "latent_channels": 4,
        "attention_head_dim": 4,
        "encoder_layers_per_block": (1, 1),
        "decoder_layers_per_block": (1, 1),
        "encoder_qkv_multiscales": ((), ()),
        "decoder_qkv_multiscales": ((), ()),
    },
    "VQModel": {**BLOCKS, "num_vq_embeddings": 16},
    "AutoencoderKLWan": {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1},
}
MODELS["AutoencoderKLWan"] |= {"temperal_downsample": [False], "latents_mean": [0.0], "latents_std": [1.0]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name, settings in MODELS.items():
        torch.manual_seed(0)
        getattr(diffusers, name)(**settings).save_pretrained(root / name)
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def images(channels=3, side=16, count=4):
    pixels = torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1))
    split = Split((pixels * 255).round().to(torch.uint8), None)
    return ImageData("noise", split, split, ())


def resolved(folder, name, data, **settings):
    source = settings.pop("source", {})
    spec = zoo.model_spec(family="diffusers", pretrained={"model": name, **source}, **settings)
    return zoo.resolve(spec, data, Resolver(folder))


def loaded(spec, data):
    return zoo.train_or_load(zoo.Training(spec, Recipe(), 0), data).model


@torch.inference_mode()
@pytest.mark.parametrize("name", MODELS)
def test_encode_and_decode_equal_those_of_diffusers(folder, name):
    data = images()
    x = data.test.images.float() / 255
    model = loaded(resolved(folder, name, data), data)
    own = getattr(diffusers, name).from_pretrained(folder / name).eval()
    pixels = 2 * x - 1
    if name == "AutoencoderKLWan":
        pixels = pixels.unsqueeze(2)
    given = own.encode(pixels)
    if name == "VQModel":
        code = own.quantize(given.latents)[0]
    elif hasattr(given, "latent_dist"):
        code = given.latent_dist.mean
        log_var = given.latent_dist.logvar
        assert torch.equal(model.encode(x).log_var, log_var.reshape_as(model.encode(x).mean))
    else:
        code = given.latents if hasattr(given, "latents") else given.latent
    assert torch.equal(model.encode(x).mean, code.reshape_as(model.encode(x).mean))
    image = own.decode(code).sample.reshape(x.shape)
    assert torch.equal(model.decode(model.encode(x).mean), (image / 2 + 0.5).clamp(0, 1))


@torch.inference_mode()
def test_factors_come_from_the_config_and_scale_codes(folder):
    data = images()
    x = data.test.images.float() / 255
    plain, scaled = (resolved(folder, "AutoencoderKL", data, scaled=flag) for flag in (False, True))
    assert (plain.scaling_factor, plain.shift_factor) == (0.3611, 0.1159)
    mine, theirs = loaded(plain, data), loaded(scaled, data)
    expected = (mine.encode(x).mean - 0.1159) * 0.3611
    torch.testing.assert_close(theirs.encode(x).mean, expected)
    spread = (0.5 * theirs.encode(x).log_var).exp(), 0.3611 * (0.5 * mine.encode(x).log_var).exp()
    torch.testing.assert_close(*spread)
    torch.testing.assert_close(theirs.decode(expected), mine.decode(mine.encode(x).mean), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_vq_model_is_a_discrete_code(folder):
    data = images()
    model = loaded(resolved(folder, "VQModel", data), data)
    assert isinstance(model, DiscreteAutoencoder)
    assert model.code_sizes == 64 * (16,)
    code = model.encode(data.test.images.float() / 255).mean
    assert model.indices(code).shape == (4, 64)
    torch.testing.assert_close(model.codes(model.indices(code)), code)


@torch.inference_mode()
def test_grey_images_are_repeated(folder):
    data = images(channels=1)
    model = loaded(resolved(folder, "AutoencoderTiny", data), data)
    x = data.test.images.float() / 255
    assert model.decode(model.encode(x).mean).shape == x.shape


@torch.inference_mode()
def test_half_precision_computes_in_its_format(folder):
    data = images()
    spec = resolved(folder, "AutoencoderKL", data, dtype="bfloat16")
    model = loaded(spec, data)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert spec.label == "AutoencoderKL-4×8×8 bfloat16"
    assert model.encode(data.test.images.float() / 255).mean.dtype == torch.float32


def test_overflow_in_half_precision_is_null_with_a_reason(folder, tmp_path):
    shutil.copytree(folder / "AutoencoderKL", tmp_path / "large")
    state = load_file(tmp_path / "large" / WEIGHTS)
    state["decoder.conv_in.weight"] *= 1e6
    save_file(state, tmp_path / "large" / WEIGHTS, metadata={"format": "pt"})
    data = images()
    model = loaded(resolved(tmp_path, "large", data, dtype="float16"), data)
    with torch.inference_mode():
        x = data.test.images.float() / 255
        assert model.decode(model.encode(x).mean).isnan().any()
    mse = reconstruction(Subject(model, DataContext(data), seed=0)).metrics[0]
    assert mse.value is None
    assert "not finite" in mse.reason


def test_tiling_is_switched_on_or_refused(folder):
    data = images()
    assert loaded(resolved(folder, "AutoencoderKL", data, tiling=True), data).module.use_tiling
    spec = resolved(folder, "VQModel", data)
    with pytest.raises(LatentbenchError, match="VQModel offers no tiling"):
        zoo.FAMILIES["diffusers"].build(spec.model_copy(update={"tiling": True}), data.image_shape)


def with_config(folder, target, **changes):
    shutil.copytree(folder / "AutoencoderKL", target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **changes}))


def refusal(folder, name, data=None, **settings):
    with pytest.raises(LatentbenchError) as error:
        resolved(folder, name, data or images(), **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["NoSuchAutoencoder", "UNet2DModel", "DDPMScheduler", None])
def test_class_that_is_no_autoencoder_is_refused(folder, tmp_path, name):
    with_config(folder, tmp_path / "other", _class_name=name)
    assert "is no autoencoder of diffusers" in refusal(tmp_path, "other")


def test_weights_of_another_architecture_are_refused(folder, tmp_path):
    with_config(folder, tmp_path / "wider", block_out_channels=[8, 16])
    assert refusal(tmp_path, "wider")
    with_config(folder, tmp_path / "deeper", layers_per_block=2)
    assert "weights do not fit the AutoencoderKL" in refusal(tmp_path, "deeper")


def test_sides_that_do_not_divide_are_refused_with_a_size(folder):
    message = refusal(folder, "AutoencoderKL", images(side=17))
    assert "multiples of 2, those of noise are 17×17; read them with size 18" in message


def test_hub_without_network_is_said_at_once_and_alone(folder, monkeypatch, capfd, recwarn):
    def refused(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", refused)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits for a network"))
    message = refusal(folder, "stabilityai/no-such-vae")
    assert "huggingface.co cannot be reached; download it where there is a network" in message
    assert "".join(capfd.readouterr()) == ""
    assert not recwarn.list


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[1]", "config.json must hold a mapping, got a list"),
        (b'"x"', "config.json must hold a mapping, got a str"),
        (b"3", "config.json must hold a mapping, got a int"),
        (b"null", "config.json must hold a mapping, got a NoneType"),
        (b"\xff\xfe{}", "not a valid JSON file"),
        (b"", "not a valid JSON file"),
        (
            b'{"_class_name": "AutoencoderKL", "scaling_factor": "x"}',
            "scaling_factor must be a number, got 'x'",
        ),
        (b'{"_class_name": ["AutoencoderKL"]}', "is no autoencoder of diffusers"),
    ],
)
def test_config_of_another_form_is_one_line(folder, tmp_path, content, problem):
    shutil.copytree(folder / "AutoencoderKL", tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_bytes(content)
    assert problem in refusal(tmp_path, "odd")


def test_folder_without_a_model_says_what_is_missing(folder, tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    assert "add subfolder: vae" in refusal(tmp_path, "pipeline")
    assert "no such folder" in refusal(tmp_path, "./nowhere")
    shutil.copytree(folder / "AutoencoderKL", tmp_path / "pipeline" / "vae")
    assert resolved(tmp_path, "pipeline", images(), source={"subfolder": "vae"}).code_shape == (4, 8, 8)
