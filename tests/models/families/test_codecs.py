"""Codecs and weight-free tokenizers: exact answers, and what they refuse."""

import io

import pytest
import torch
from PIL import Image
from scipy.fft import dctn

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import checkpoint
from latentbench.models.families.codecs.block_transform import patches
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, resolve, train_or_load


def smooth_images(count, channels=3, side=32, seed=0):
    """Low-contrast images, so that no decoded pixel has to be clipped."""
    noise = torch.rand(count, channels, side // 4, side // 4, generator=torch.Generator().manual_seed(seed))
    large = torch.nn.functional.interpolate(noise, scale_factor=4, mode="bicubic")
    fine = torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed + 1))
    return ((0.4 + 0.2 * large + 0.1 * fine).clamp(0.3, 0.7) * 255).round().to(torch.uint8)


def image_data(channels=3, side=32):
    train, test = smooth_images(40, channels, side), smooth_images(10, channels, side, seed=9)
    return ImageData("smooth", Split(train, None), Split(test, None), ())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))


def built(data, **settings):
    spec = resolve(model_spec(**settings), data)
    return train_or_load(Training(spec, Recipe(), 0), data).model


def decoded(model, x):
    return model.decompress(model.compress(x))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("family", ["jpeg", "webp", "avif", "jpeg2000"])
def test_higher_quality_costs_more_and_errs_less(family, channels):
    data = image_data(channels)
    x = data.test.images.float() / 255
    sizes, errors = [], []
    for quality in (20, 50):
        codec = built(data, family=family, quality=quality)
        files = codec.compress(x)
        sizes.append(sum(map(len, files)))
        errors.append((codec.decompress(files) - x).square().mean().item())
    assert sizes[0] < sizes[1]
    assert errors[0] > errors[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_loses_nothing_and_is_a_readable_file(channels):
    data = image_data(channels)
    x = data.test.images.float() / 255
    codec = built(data, family="png")
    files = codec.compress(x)
    assert torch.equal(codec.decompress(files), x)
    with Image.open(io.BytesIO(files[0])) as image:
        assert (image.format, image.size) == ("PNG", (32, 32))


def test_jpeg_writes_the_file_that_pillow_writes():
    data = image_data()
    codec = built(data, family="jpeg", quality=60)
    by_pillow = io.BytesIO()
    array = data.test.images[0].permute(1, 2, 0).numpy()
    Image.fromarray(array).save(by_pillow, "JPEG", quality=60, optimize=True)
    assert codec.compress(data.test.images[:1].float() / 255) == [by_pillow.getvalue()]


@pytest.mark.parametrize("family", ["dct", "haar"])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_coefficients_give_the_image_back(family, channels):
    data = image_data(channels)
    x = torch.rand(4, channels, 32, 32, generator=torch.Generator().manual_seed(3))
    model = built(data, family=family, block=8)
    torch.testing.assert_close(model.decode(model.encode(x).mean), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", ["dct", "haar"])
@pytest.mark.parametrize("kept", [1, 6, 40])
def test_error_is_the_energy_of_dropped_coefficients(family, kept):
    data = image_data()
    x = data.test.images.double() / 255
    whole = built(data, family=family, block=8).double()
    part = built(data, family=family, block=8, coefficients=kept).double()
    coefficients = whole.encode(x).mean.unflatten(1, (3, 64))
    torch.testing.assert_close(part.encode(x).mean, coefficients[:, :, :kept].flatten(1, 2))
    energy = coefficients[:, :, kept:].square().sum() / x.numel()
    error = (part.decode(part.encode(x).mean) - x).square().mean()
    assert error.item() == pytest.approx(energy.item(), rel=1e-6)


def test_clipping_only_lowers_the_error_of_a_transform():
    data = image_data()
    x = (torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    model = built(data, family="dct", coefficients=5)
    codes = model.encode(x).mean
    unclipped = (model.synthesised(codes) - x).square().mean()
    assert (model.decode(codes) - x).square().mean() < unclipped


def test_dct_agrees_with_scipy():
    data = image_data(1)
    x = data.test.images.double() / 255
    model = built(data, family="dct", block=8, coefficients=3).double()
    blocks = patches(x, 8)[:, :, 1, 2].reshape(-1, 8, 8).numpy()
    expected = torch.from_numpy(dctn(blocks, axes=(1, 2), norm="ortho"))
    zigzag = torch.stack([expected[:, 0, 0], expected[:, 0, 1], expected[:, 1, 0]], dim=1)
    torch.testing.assert_close(model.encode(x).mean[:, :, 1, 2], zigzag, atol=1e-6, rtol=1e-6)


def test_patch_pca_error_is_the_sum_of_dropped_eigenvalues():
    data = image_data()
    x = data.train.images.double() / 255
    model = built(data, family="patch_pca", latent_dim=10, block=4).double()
    rows = patches(x, 4).permute(0, 2, 3, 1).flatten(0, 2)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0))
    error = (model.decode(model.encode(x).mean) - x).square().mean().item()
    assert error == pytest.approx(eigenvalues[:-10].sum().item() / 48, rel=1e-6)


def test_identity_is_the_image():
    data = image_data()
    model = built(data, family="identity")
    x = data.test.images.float() / 255
    assert torch.equal(model.decode(model.encode(x).mean), x)
    assert model.spec.code_shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"family": "dct", "block": 5},
            "cannot be cut into blocks of 5 px; allowed: block 1, 2, 4, 8, 16, 32",
        ),
        ({"family": "dct", "coefficients": 65}, "has 192 coefficients, got 195"),
        ({"family": "haar", "block": 6}, "block must be a power of two, got 6"),
        ({"family": "patch_pca", "latent_dim": 13, "block": 2}, "has 12 coefficients, got 13"),
        ({"family": "jpeg", "latent_dim": 4}, "a codec has no code vector"),
        ({"family": "identity", "latent_dim": 4}, "is 3, got 4"),
        ({"family": "jpeg", "quality": 101}, "quality"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings, problem):
    with pytest.raises(LatentbenchError) as error:
        resolve(model_spec(**settings), image_data())
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("family", "block", "side", "allowed"),
    [
        ("dct", 5, 256, [1, 2, 4, 8, 16, 32]),
        ("haar", 8, 100, [1, 2, 4]),
        ("dct", 3, 100, [1, 2, 4, 5, 10, 20, 25]),
    ],
)
def test_every_block_size_that_is_offered_is_taken(family, block, side, allowed):
    split = Split(torch.zeros(1, 1, side, side, dtype=torch.uint8), None)
    data = ImageData("black", split, split, ())
    with pytest.raises(LatentbenchError, match=f"allowed: block {', '.join(map(str, allowed))}$"):
        resolve(model_spec(family=family, block=block), data)
    for size in allowed:
        spec = resolve(model_spec(family=family, block=size), data)
        assert spec.code_shape == (size**2, side // size, side // size)


def test_only_patch_pca_needs_train_images():
    data = image_data()
    test_only = ImageData("test only", data.test, data.test, ())
    for family in ("jpeg", "dct", "identity"):
        assert resolve(model_spec(family=family), test_only).family == family
    with pytest.raises(LatentbenchError, match="has only test images"):
        resolve(model_spec(family="patch_pca", latent_dim=2), test_only)


def test_codecs_pass_through_the_cache_of_models():
    data = image_data()
    spec = resolve(model_spec(family="webp", quality=40), data)
    trained = train_or_load(Training(spec, Recipe(), 0), data)
    assert trained.folder is not None
    again = checkpoint.load(trained.folder).model
    x = data.test.images.float() / 255
    assert again.compress(x) == trained.model.compress(x)
    assert spec.label == "webp q=40"
