"""The loss of a regularised autoencoder agrees with one computed by hand."""

import pytest
import torch
from shared.families import images, small, step_for, summed_squares, values

from latentbench.models.zoo import FAMILIES, model_spec


def test_rae_loss_by_hand():
    model, x = small(family="rae", latent_dim=3, depth=2, code_weight=0.7, decoder_weight=0.02), images()
    terms = values(model.loss(x, step_for(model, len(x))))
    z = model.encode(x).mean
    code = sum(value**2 for row in z.tolist() for value in row) / 2 / len(x)
    layers = [layer for layer in model.decoder if isinstance(layer, torch.nn.Linear)]
    assert len(layers) == 3
    decoder = sum(torch.linalg.matrix_norm(layer.weight.double()).item() ** 2 for layer in layers)
    error = summed_squares(x, model.decode(z))
    assert terms == {
        "reconstruction": pytest.approx(error, rel=1e-5),
        "code_penalty": pytest.approx(code, rel=1e-5),
        "decoder_penalty": pytest.approx(decoder, rel=1e-5),
        "loss": pytest.approx(error + 0.7 * code + 0.02 * decoder, rel=1e-5),
    }


def test_rae_penalises_kernels_but_neither_biases_nor_norms():
    model = FAMILIES["rae"].build(model_spec(family="rae", latent_dim=2, backbone="book"), (1, 28, 28))
    x = images(2, (1, 28, 28))
    before = model.loss(x, step_for(model, 2))["decoder_penalty"].item()
    with torch.no_grad():
        for layer in model.decoder:
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.mul_(3)
            if getattr(layer, "bias", None) is not None:
                layer.bias.add_(1)
    assert model.loss(x, step_for(model, 2))["decoder_penalty"].item() == before
    with torch.no_grad():
        model.decoder[2].weight.add_(1)
    assert model.loss(x, step_for(model, 2))["decoder_penalty"].item() > before


def test_rae_without_penalties_is_an_autoencoder():
    x = images()
    plain = small(family="ae", latent_dim=3)
    model = small(family="rae", latent_dim=3, code_weight=0, decoder_weight=0)
    loss = model.loss(x, step_for(model, len(x)))["loss"]
    assert loss.item() == pytest.approx(plain.loss(x, step_for(plain, len(x)))["loss"].item(), rel=1e-7)
