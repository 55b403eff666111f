"""A flow learns the density of codes: distributions with known moments, and codes that are hard to scale."""

import pytest
import torch

from latentbench.analysis.fidelity.generative_metrics import frechet_distance
from latentbench.analysis.flow.networks import network_for
from latentbench.analysis.flow.recipe import FlowRecipe
from latentbench.analysis.flow.rectified_flow import Averaged, RectifiedFlow, heun
from latentbench.analysis.flow.train_flow import Scales, train_flow
from latentbench.models.protocols import Posterior
from latentbench.models.training.engine import train
from latentbench.models.training.history import Diverged

CPU = torch.device("cpu")
SMALL = FlowRecipe(width=64, blocks=2, steps=400, batch_size=256)
GRID = FlowRecipe(width=16, steps=60, batch_size=64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def null(dimensions, count):
    """The expected Fréchet distance of two sets of `count` draws of one Gaussian."""
    return dimensions * (dimensions + 5) / (2 * count)


def trained(codes, recipe=SMALL, seed=0, log_var=None):
    return train_flow(Posterior(codes, log_var), recipe, seed=seed, device=CPU)


def test_flow_of_a_standard_normal_reaches_the_null_floor():
    flow = trained(normal(20_000, 4)).flow
    samples = flow.sample(normal(5000, 4, seed=1))
    assert frechet_distance(samples, normal(5000, 4, seed=2)) < 3 * null(4, 5000)


def test_flow_learns_a_gaussian_of_any_scale_and_correlation():
    factor = torch.tensor([[30.0, 0, 0], [2.0, 0.5, 0], [0, -0.01, 0.01]])
    codes = 100 + normal(20_000, 3) @ factor.T
    samples = trained(codes).flow.sample(normal(5000, 3, seed=1))
    white = torch.linalg.inv(factor).T
    distance = frechet_distance((samples - 100) @ white, (codes[:5000] - 100) @ white)
    moment_free = frechet_distance(normal(5000, 3, seed=3) * codes.std(0) @ white, (codes - 100) @ white)
    assert distance < 0.05 < moment_free


def test_flow_learns_two_clusters_and_their_shares():
    heavy = torch.rand(20_000, generator=torch.Generator().manual_seed(1)) < 0.7
    codes = 0.1 * normal(20_000, 2) + torch.where(heavy, 3.0, -1.0)[:, None]
    samples = trained(codes).flow.sample(normal(4000, 2, seed=1))
    assert (samples[:, 0] > 1).double().mean().item() == pytest.approx(0.7, abs=0.04)
    off = (samples - torch.where(samples > 1, 3.0, -1.0)).abs()
    assert (off > 0.5).double().mean().item() < 0.05


def test_noise_of_the_posterior_is_drawn_anew():
    """Means at ±1 with a spread of 0.5: the flow learns the sum's variance, which no mean has."""
    signs = torch.where(normal(4000, 2) > 0, 1.0, -1.0)
    flow = trained(signs, log_var=torch.full_like(signs, 0.25).log()).flow
    samples = flow.sample(normal(4000, 2, seed=1))
    assert samples.var(0).tolist() == pytest.approx([1.25, 1.25], rel=0.1)


def test_constant_channels_stay_constant():
    codes = normal(500, 3)
    codes[:, 1] = 7.25
    samples = trained(codes).flow.sample(normal(50, 3, seed=1))
    assert torch.equal(samples[:, 1], torch.full((50,), 7.25))
    assert (samples[:, 0].std() > 0.5) & (samples[:, 2].std() > 0.5)


def test_grids_are_scaled_by_channel():
    codes = normal(300, 3, 5, 6) * torch.tensor([1.0, 100.0, 0.0]).reshape(3, 1, 1) + 5
    flow = trained(codes, GRID).flow
    samples = flow.sample(normal(40, 3, 5, 6, seed=1))
    assert samples.shape == (40, 3, 5, 6)
    assert torch.equal(samples[:, 2], torch.full((40, 5, 6), 5.0))
    assert samples[:, 1].std().item() == pytest.approx(100, rel=0.3)


def test_grid_flow_learns_the_correlation_of_positions():
    """Every grid has one value at all of its positions: independent positions would differ."""
    codes = normal(2000, 1, 1, 1).expand(2000, 1, 4, 4).contiguous()
    samples = trained(codes, GRID.model_copy(update={"steps": 200})).flow.sample(normal(200, 1, 4, 4, seed=1))
    within, between = samples.flatten(1).var(1).mean(), samples.mean((1, 2, 3)).var()
    assert within < 0.3 * between


@pytest.mark.parametrize("shape", [(5,), (6, 3), (2, 7, 7), (1, 1, 1), (3, 28, 28)])
def test_networks_begin_as_zero_and_keep_the_shape(shape):
    network = network_for(shape, FlowRecipe(width=16))
    assert torch.equal(network(normal(4, *shape), torch.rand(4)), torch.zeros(4, *shape))


def test_same_seed_gives_the_same_flow():
    codes = normal(600, 2)
    recipe = SMALL.model_copy(update={"steps": 20})
    noise = normal(10, 2, seed=1)
    one, same, other = (trained(codes, recipe, seed).flow.sample(noise) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_training_takes_the_steps_of_its_budget():
    assert len(trained(normal(30, 2), SMALL.model_copy(update={"steps": 7})).losses) == 7
    assert len(trained(normal(600, 2), SMALL.model_copy(update={"steps": 7})).losses) == 7


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"avx512_bf16": True}, "bf16"), ({"avx512_bf16": False, "avx2": True}, "fp32"), ({}, "fp32")],
)
def test_bf16_is_used_where_the_processor_has_it(monkeypatch, capabilities, precision):
    codes, recipe = normal(64, 2), SMALL.model_copy(update={"steps": 5})
    expected = trained(codes, recipe.model_copy(update={"precision": "fp32"})).losses
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert recipe.training_on(CPU).precision == precision
    assert torch.equal(trained(codes, recipe).losses, expected) == (precision == "fp32")


def test_divergence_is_an_error():
    with pytest.raises(Diverged):
        trained(normal(600, 2), SMALL.model_copy(update={"learning_rate": 1e30, "steps": 30}))


def test_codes_that_are_not_finite_are_refused():
    codes = normal(600, 2)
    codes[3, 1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        trained(codes)


def test_scales_hold_the_spread_of_the_posterior():
    codes = Posterior(normal(10_000, 2), torch.full((10_000, 2), 3.0).log())
    assert Scales.of(codes).deviation.tolist() == pytest.approx([2.0, 2.0], rel=0.02)


def test_average_follows_the_weights_with_its_decay():
    model = RectifiedFlow(network_for((2,), FlowRecipe(width=4, blocks=1)), (2,))
    name = "network.last.1.weight"
    expected = model.get_parameter(name).detach().clone()
    trainee = Averaged(model, 0, CPU, decay=0.15)

    def follow(done, total):
        decay = min(0.15, done / (done + 9))
        expected.mul_(decay).add_(model.get_parameter(name).detach(), alpha=1 - decay)

    train(trainee, (normal(8, 2),), FlowRecipe(batch_size=8).training_on(CPU), progress=follow, steps=5)
    assert expected.abs().max() > 0
    assert torch.allclose(trainee.average.get_parameter(name), expected, atol=1e-7)


def test_heun_is_of_second_order():
    exact = torch.e
    errors = [abs(heun(lambda x, t: x, torch.ones(1, 1), steps).item() - exact) for steps in (8, 16)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
