"""Codes that are grids."""

import pytest
import torch

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import zoo
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec


@pytest.mark.parametrize("family", ["ae", "vae"])
def test_a_grid_code_is_learned(family, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (256, 1, 2, 2), dtype=torch.uint8, generator=draws)
    images = images.repeat_interleave(8, 2).repeat_interleave(8, 3)
    data = ImageData("blocks", Split(images, None), Split(images[:32], None), ())
    given = model_spec(family=family, latent_dim=3, backbone="conv", hidden=8, code="grid")
    spec = zoo.resolve(given, data)
    assert (spec.code_shape, spec.label.split()[0]) == ((3, 4, 4), f"{family}-3×4×4")
    trained = zoo.train_or_load(Training(spec, Recipe(epochs=40, batch_size=32), 0), data)
    x = images[:32].float() / 255
    with torch.inference_mode():
        codes = trained.model.encode(x)
        error = (trained.model.decode(codes.mean) - x).square().mean()
    assert codes.mean.shape == (32, 3, 4, 4)
    assert error < 0.5 * x.var()
    if family == "vae":
        assert codes.log_var.shape == codes.mean.shape
        assert trained.history.profiles["kl_per_dim"].shape[1] == 3
    (outcome,) = zoo.stacks([Training(spec, Recipe(), 0)], data.image_shape, memory_bytes=1e9)
    assert outcome == [0]


def test_a_grid_needs_a_backbone_that_keeps_one():
    with pytest.raises(LatentbenchError, match=r"code: grid needs backbone conv, got 'mlp'"):
        model_spec(family="vae", latent_dim=4, code="grid")
    with pytest.raises(LatentbenchError, match="code"):
        model_spec(family="dae", latent_dim=4, backbone="conv", code="grid")


def test_a_spec_without_a_grid_is_as_it_was():
    spec = model_spec(family="vae", latent_dim=4, backbone="conv")
    assert {"code", "code_shape"}.isdisjoint(spec.model_dump(exclude_none=True))
