"""The engine: same seed, same weights; shared data order; divergence noticed and recorded."""

import pytest
import torch
from torch import nn

from latentbench.models.engine import train
from latentbench.models.history import Diverged
from latentbench.models.recipe import Recipe

CPU = torch.device("cpu")


def run(model, objective, count=64, *, seed=0, **recipe):
    recipe = Recipe(**{"epochs": 2, "batch_size": 16, **recipe})
    x = torch.linspace(-1, 1, count).unsqueeze(1)
    return train(model, objective, (x,), recipe, seed=seed, device=CPU, progress=lambda *_: None)


def linear():
    torch.manual_seed(0)
    return nn.Linear(1, 1)


def squares(model):
    def objective(batch, noise):
        target = 3 * batch[0] + 0.01 * torch.randn(batch[0].shape, generator=noise)
        return {"loss": (model(batch[0]) - target).square().mean()}

    return objective


def test_it_learns_a_line():
    model = linear()
    run(model, squares(model), epochs=200, learning_rate=0.05)
    assert model.weight.item() == pytest.approx(3, abs=0.05)


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not():
    weights = []
    for seed in (0, 0, 1):
        model = linear()
        run(model, squares(model), seed=seed)
        weights.append(model.weight.item())
    assert weights[0] == weights[1] != weights[2]


def test_every_example_is_seen_once_an_epoch():
    model, seen = linear(), []

    def objective(batch, noise):
        seen.extend(batch[0].flatten().tolist())
        return {"loss": model(batch[0]).square().mean()}

    run(model, objective, epochs=3)
    epochs = [seen[start : start + 64] for start in (0, 64, 128)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len(set(epochs[0])) == 64
    assert epochs[0] != epochs[1]


def test_history_has_a_value_for_every_step_and_term():
    model = linear()

    def objective(batch, noise):
        loss = model(batch[0]).square().mean()
        return {"loss": loss, "twice": 2 * loss}

    history = run(model, objective, epochs=3)
    assert len(history) == 12
    assert history.terms["twice"] == pytest.approx(2 * history.terms["loss"])


def test_a_diverged_run_stops_and_says_where():
    model, steps = linear(), iter(range(100))

    def objective(batch, noise):
        factor = float("nan") if next(steps) == 6 else 1.0
        return {"loss": factor * model(batch[0]).square().mean()}

    with pytest.raises(Diverged, match="step 6") as caught:
        run(model, objective, epochs=10)
    assert caught.value.step == 6
    assert len(caught.value.history) == 6
    assert next(steps) == 8  # the epoch in hand was finished, no other was begun


def test_a_batch_larger_than_the_data_is_the_data():
    model = linear()
    assert len(run(model, squares(model), count=5, batch_size=16, epochs=4)) == 4
