"""Training a flow on codes against a plain loop in float32.

Run with `pytest tests/speed -k flow -s`. Both have the same network, batches, steps, learning rates and
average of the weights; the plain loop is what one would write first. The case prints the ratio and the
Fréchet distances of samples of both.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from latentbench.analysis.core.devices import find_device
from latentbench.analysis.fidelity.generative_metrics import frechet_distance
from latentbench.analysis.flow.networks import network_for
from latentbench.analysis.flow.recipe import FlowRecipe
from latentbench.analysis.flow.rectified_flow import heun
from latentbench.analysis.flow.train_flow import train_flow
from latentbench.models.protocols import Posterior
from latentbench.models.training.engine import schedule_factor

DEVICE = find_device("auto")
SIZE = 16
RECIPE = FlowRecipe(steps=300)
SAMPLES = 5000


@pytest.fixture(scope="module")
def codes():
    """Draws of a mixture of ten Gaussians that are whitened, and as many that nothing is trained on."""
    draws = torch.Generator().manual_seed(0)
    means = 2 * torch.randn(10, SIZE, generator=draws)
    spreads = 0.3 * torch.randn(10, SIZE, SIZE, generator=draws)
    chosen = torch.randint(10, (60_000 + SAMPLES,), generator=draws)
    noise = torch.randn(len(chosen), SIZE, generator=draws)
    points = means[chosen] + torch.einsum("nij,nj->ni", spreads[chosen], noise)
    points = (points - points.mean(0)) / points.std(0)
    return points[:60_000], points[60_000:]


def plain_loop(codes):
    """Train the network in float32, tensor by tensor; return the network with the averaged weights."""
    codes, settings = codes.to(DEVICE), RECIPE.training_on(DEVICE)
    torch.manual_seed(0)
    network = network_for((SIZE,), RECIPE).to(DEVICE)
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=settings.weight_decay)
    losses = []
    for step in range(RECIPE.steps):
        for group in optimiser.param_groups:
            group["lr"] = RECIPE.learning_rate * schedule_factor(settings, step, RECIPE.steps)
        code = codes[torch.randint(len(codes), (RECIPE.batch_size,), device=DEVICE)]
        noise = torch.randn_like(code)
        moment = torch.rand(len(code), device=DEVICE)
        velocity = network(noise + moment[:, None] * (code - noise), moment)
        loss = nn.functional.mse_loss(velocity, code - noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay = min(RECIPE.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for averaged, current in zip(average.parameters(), network.parameters(), strict=True):
                averaged.mul_(decay).add_(current, alpha=1 - decay)
        losses.append(loss.item())
    return average


def test_train_a_flow(side_by_side, say, codes):
    train_codes, held_out = codes

    def ours():
        return train_flow(Posterior(train_codes), RECIPE, seed=0, device=DEVICE)

    found = side_by_side(ours, lambda: plain_loop(train_codes), rounds=3)
    noise = torch.randn(SAMPLES, SIZE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        rival = heun(found.rival_value, noise.to(DEVICE), RECIPE.sampling_steps).cpu()
    distance, rival_distance = (
        frechet_distance(drawn, held_out) for drawn in (found.value.flow.sample(noise), rival)
    )
    assert distance < 1.1 * rival_distance
    precision = RECIPE.training_on(DEVICE).precision
    say(
        f"a flow of {SIZE} numbers, {RECIPE.steps} steps of {RECIPE.batch_size}, {precision}, {DEVICE.type}",
        found,
        "a plain loop in float32",
        f"Fréchet distance {distance:.3f} against {rival_distance:.3f}",
    )
