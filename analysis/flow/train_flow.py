"""Train a flow on codes: standardise them, train, and keep the averaged weights."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentbench.analysis.flow.networks import network_for
from latentbench.analysis.flow.recipe import FlowRecipe
from latentbench.analysis.flow.rectified_flow import Averaged, RectifiedFlow, heun
from latentbench.models.codes import Shape, by_position
from latentbench.models.protocols import Posterior
from latentbench.models.seeds import derive
from latentbench.models.training.engine import Progress, train
from latentbench.models.training.history import Diverged

CONSTANT = 1e-6
"""A channel with less than this share of the largest standard deviation counts as constant."""
SAMPLED_VALUES = 2_000_000
"""The number of values of the samples that are drawn at once."""
LAST = 0.1
"""The share of the steps over which the final loss is averaged."""


@dataclass(frozen=True, eq=False)
class Scales:
    """Mean and standard deviation of each channel, `[C]`, over images and positions; 0 if it is constant."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, codes: Posterior) -> Scales:
        """Compute the mean and standard deviation of draws from q(z | x), in float32."""
        means = by_position(codes.mean).flatten(0, 1).double()
        variance = means.var(0, correction=0)
        if codes.log_var is not None:
            variance = variance + by_position(codes.log_var).flatten(0, 1).double().exp().mean(0)
        deviation = variance.sqrt()
        varies = deviation > CONSTANT * deviation.max()
        return cls(means.mean(0).float(), torch.where(varies, deviation, 0).float())

    def rows(self, codes: Posterior) -> tuple[Tensor, ...]:
        """Return standardised means `[N, *shape]`, and standard deviations for codes that have them."""
        mean, deviation = self._aligned(codes.mean.ndim - 1)
        divisor = torch.where(deviation > 0, deviation, torch.inf)
        means = (codes.mean - mean) / divisor
        return (means,) if codes.log_var is None else (means, (0.5 * codes.log_var).exp() / divisor)

    def undo(self, points: Tensor) -> Tensor:
        """Return codes of standardised points `[N, *shape]`; a constant channel has its one value."""
        mean, deviation = self._aligned(points.ndim - 1)
        return mean.to(points.device) + deviation.to(points.device) * points

    def _aligned(self, axes: int) -> tuple[Tensor, Tensor]:
        """Return mean and deviation with the axes of a code: channels come first in a grid, else last."""
        size = (-1, 1, 1) if axes == 3 else (-1,)
        return self.mean.reshape(size), self.deviation.reshape(size)


@dataclass(frozen=True, eq=False)
class Flow:
    """A trained flow: a sampler of codes `[N, *shape]`."""

    network: nn.Module
    """The velocity, with the averaged weights."""
    scales: Scales
    shape: Shape
    recipe: FlowRecipe

    @torch.inference_mode()
    def sample(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise `[N, *shape]` into codes, on the CPU, in batches."""
        device = next(self.network.parameters()).device
        size = max(1, SAMPLED_VALUES // (noise[0].numel() * self.recipe.width))
        size = max(size, 100)
        batches = [
            self.scales.undo(heun(self.network, batch.to(device), self.recipe.sampling_steps)).cpu()
            for batch in noise.split(size)
        ]
        return torch.cat(batches)


@dataclass(frozen=True, eq=False)
class TrainedFlow:
    """A trained flow, with the losses and the time of its training."""

    flow: Flow
    losses: Tensor
    """The loss of each step, float32 `[steps]`; a constant code with no spread would have 1."""
    seconds: float

    @property
    def loss(self) -> float:
        """The mean loss over the last tenth of the steps."""
        count = max(1, round(LAST * len(self.losses)))
        return self.losses[-count:].double().mean().item()


def _ignore(done: int, total: int) -> None:
    """Report no progress."""


def train_flow(
    codes: Posterior,
    recipe: FlowRecipe,
    *,
    seed: int,
    device: torch.device,
    progress: Progress = _ignore,
) -> TrainedFlow:
    """Train a flow on q(z | x) of N images, `[N, *shape]` each.

    Raises Diverged if the loss stops being finite, and ValueError for codes that are not finite.
    """
    if not all(bool(each.isfinite().all()) for each in (codes.mean, codes.log_var) if each is not None):
        raise ValueError("codes hold values that are not finite")
    started = time.perf_counter()
    shape: Shape = tuple(codes.mean.shape[1:])
    scales = Scales.of(codes)
    model = untrained(shape, recipe, seed).to(device)
    trainee = Averaged(model, derive(seed, "flow"), device, decay=recipe.average)
    settings = recipe.training_on(device)
    (outcome,) = train(trainee, scales.rows(codes), settings, progress=progress, steps=recipe.steps)
    if isinstance(outcome, Diverged):
        raise outcome
    network = trainee.average.network.eval()
    flow = Flow(network, scales, shape, recipe)
    return TrainedFlow(flow, torch.from_numpy(outcome.terms["loss"]), time.perf_counter() - started)


def untrained(shape: Shape, recipe: FlowRecipe, seed: int = 0) -> RectifiedFlow:
    """Build a flow's objective with the initial weights of its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "flow weights"))
        return RectifiedFlow(network_for(shape, recipe), shape)
