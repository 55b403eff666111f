"""The VQ-VAE: codebook, moving averages, revival and loss agree with hand-computed values."""

import math

import pytest
import torch

from latentbench.data.errors import LatentbenchError
from latentbench.models.training.engine import TrainingStep
from latentbench.models.zoo import FAMILIES, can_stack, model_spec

SHAPE = (1, 8, 8)


SMALL = {"backbone": "mlp", "hidden": 24}


def build(**spec):
    torch.manual_seed(0)
    return FAMILIES[spec["family"]].build(model_spec(**{**SMALL, **spec}), SHAPE)


def vq_with(codebook, *, positions=1, **spec):
    """A VQ-VAE of a given codebook, every code in use: a count of 1."""
    codebook = torch.tensor(codebook)
    count, dims = codebook.shape
    model = build(family="vq", latent_dim=dims * positions, code_dim=dims, codes=count, **spec)
    model.codebook.copy_(codebook)
    model.counts.fill_(1)
    model.sums.copy_(codebook)
    return model


def step_of(model, batch):
    noise = torch.Generator().manual_seed(0)
    draws = {name: draw.sample(noise) for name, draw in model.draws(batch).items()}
    return TrainingStep((torch.empty(0),), draws, progress=torch.tensor(0.5), examples=1000)


# The VQ-VAE


def test_positions_take_the_nearest_vectors_of_one_codebook():
    model = vq_with([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], positions=2)
    z = torch.tensor([[0.4, 0.1, 0.9, -1.0], [-5.0, 1.2, 0.6, 0.1]])
    assert model.indices(z).tolist() == [[0, 1], [2, 1]]
    assert model.codes(model.indices(z)).tolist() == [[0, 0, 1, 0], [0, 2, 1, 0]]
    assert model.code_sizes == (3, 3)


def test_one_step_of_the_moving_averages_by_hand():
    model = vq_with([[0.0], [10.0], [20.0]], decay=0.9)
    vectors = torch.tensor([[1.0], [2.0], [9.0]])
    n = model.follow(vectors, torch.tensor([0, 0, 1]))
    assert n.tolist() == [2, 1, 0]
    assert model.counts.tolist() == pytest.approx([0.9 + 0.2, 0.9 + 0.1, 0.9])
    # 0.9 · (1 · code) + 0.1 · Σ over 0.9 · 1 + 0.1 · n.
    assert model.codebook.flatten().tolist() == pytest.approx([0.3 / 1.1, (9 + 0.9) / 1.0, 20.0])


def test_code_without_memory_is_the_mean_of_its_vectors():
    model = vq_with([[0.0], [10.0]], decay=0.0)
    model.follow(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 0]))
    assert model.codebook.flatten().tolist() == [1.5, 10.0]


def test_revival_moves_exactly_the_dead_codes():
    model = vq_with([[0.0], [10.0], [20.0], [30.0]])
    # Four vectors, four codes: the mean count is 1, and below 0.1 a code is dead.
    model.counts.copy_(torch.tensor([0.09, 1.0, 0.1, 0.0]))
    vectors = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    revived = model.revive(vectors, torch.tensor([0.5, 0.1, 0.9, 0.3]))
    assert revived.item() == 2
    # The draw puts the vectors in the order 2, 4, 1, 3.
    assert model.codebook.flatten().tolist() == [2.0, 10.0, 20.0, 4.0]
    assert model.counts.tolist() == pytest.approx([0.2, 1.0, 0.1, 0.2])
    assert model.sums.flatten().tolist() == pytest.approx([0.4, 10.0, 20.0, 0.8])


def test_more_dead_codes_than_vectors_wait_for_the_next_step():
    model = vq_with([[0.0], [10.0], [20.0]])
    model.counts.zero_()
    assert model.revive(torch.tensor([[1.0], [2.0]]), torch.tensor([0.9, 0.1])).item() == 2
    assert model.codebook.flatten().tolist() == [2.0, 1.0, 20.0]
    assert model.revive(torch.tensor([[5.0], [6.0]]), torch.tensor([0.1, 0.9])).item() == 1
    assert model.codebook.flatten().tolist() == [2.0, 1.0, 5.0]


def test_codebook_starts_with_outputs_of_the_encoder():
    model = build(family="vq", latent_dim=4, codes=8)
    x = torch.rand(32, *SHAPE, generator=torch.Generator().manual_seed(0))
    outputs = model.continuous(x).detach().reshape(-1, 2)
    revived = model.revive(outputs, step_of(model, 32).draws["revival"])
    assert revived.item() == 8
    assert (model.codebook[:, None] == outputs).all(2).any(1).all()
    assert len(model.codebook.unique(dim=0)) == 8


def test_the_vq_loss_by_hand():
    model = build(family="vq", latent_dim=4, codes=8, commitment=0.5)
    x = torch.rand(32, *SHAPE, generator=torch.Generator().manual_seed(0))
    step = step_of(model, 32)
    twin = build(family="vq", latent_dim=4, codes=8)
    terms = model.loss(x, step)
    twin.revive(twin.continuous(x).reshape(-1, 2), step.draws["revival"])
    with torch.no_grad():
        z, code = twin.continuous(x), twin.encode(x).mean
        reconstruction = (x - twin.decode(code)).square().sum(dim=(1, 2, 3)).mean().item()
        commitment = (z - code).square().sum(1).mean().item()
    share = twin.indices(z).flatten().bincount(minlength=8) / 64
    entropy = -sum(p * math.log(p) for p in share.tolist() if p > 0)
    assert terms["reconstruction"].item() == pytest.approx(reconstruction, rel=1e-5)
    assert terms["commitment"].item() == pytest.approx(commitment, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(reconstruction + 0.5 * commitment, rel=1e-5)
    assert terms["perplexity"].item() == pytest.approx(math.exp(entropy), rel=1e-5)
    assert terms["revived"].item() == 8


def test_the_commitment_draws_the_encoder_to_its_codes_alone():
    """Without weight on the images' error, the gradient in z would be 2 (z − code) / batch."""
    model = vq_with([[0.0, 0.0], [3.0, 3.0]], commitment=2.0)
    model.counts.fill_(100)
    x = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    z = model.continuous(x)
    code = model.codes(model.indices(z))
    expected = torch.autograd.grad(2.0 * (z - code).square().sum() / 6, model.to_code.bias)[0]
    terms = model.loss(x, step_of(model, 6))
    (found,) = torch.autograd.grad(terms["loss"] - terms["reconstruction"], model.to_code.bias)
    assert torch.allclose(found, expected, rtol=1e-4)


def test_a_width_of_no_whole_positions_is_refused():
    with pytest.raises(LatentbenchError, match="latent_dim must be divisible by code_dim = 2, got 5"):
        model_spec(family="vq", latent_dim=5)


@pytest.mark.parametrize("family", ["vq", "fsq"])
def test_discrete_codes_are_never_stacked(family):
    """A codebook moves in the step, and rounding makes a hair's difference a level's."""
    assert not can_stack(model_spec(family=family, latent_dim=4))
