"""The engine: same seed, same weights; shared data order; divergence noticed and recorded."""

import numpy as np
import pytest
import torch
from torch import nn

from latentbench.models.training import engine
from latentbench.models.training.engine import Draw, Single
from latentbench.models.training.history import Diverged
from latentbench.models.training.recipe import Recipe

CPU = torch.device("cpu")


class Line(nn.Module):
    """Learns y = 3 x under a little noise."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 1)
        self.seen = []

    def draws(self, batch_size):
        return {"noise": Draw("normal", (batch_size, 1))}

    def forward(self, step):
        (x,) = step.rows
        self.seen.append((x.flatten().tolist(), step.progress.item(), step.examples))
        error = self.layer(x) - 3 * x - 0.01 * step.draws["noise"]
        return {
            "loss": error.square().mean(),
            "signed": error.mean(),
            "profile": error.mean() * torch.ones(3),
        }


def outcome_of(model, count=64, *, seed=0, **recipe):
    recipe = Recipe(**{"epochs": 2, "batch_size": 16, **recipe})
    x = torch.linspace(-1, 1, count).unsqueeze(1)
    (outcome,) = engine.train(Single(model, seed, CPU), (x,), recipe, progress=lambda *_: None)
    return outcome


def test_it_learns_a_line():
    model = Line()
    outcome_of(model, epochs=200, learning_rate=0.05)
    assert model.layer.weight.item() == pytest.approx(3, abs=0.05)


def test_weights_depend_on_the_seed_alone():
    weights = []
    for seed in (0, 0, 1):
        model = Line()
        outcome_of(model, seed=seed)
        weights.append(model.layer.weight.item())
    assert weights[0] == weights[1] != weights[2]


def test_every_example_is_seen_once_an_epoch():
    model = Line()
    outcome_of(model, epochs=3)
    seen = [value for batch, _, _ in model.seen for value in batch]
    epochs = [seen[start : start + 64] for start in (0, 64, 128)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len(set(epochs[0])) == 64
    assert epochs[0] != epochs[1]


def test_objective_receives_progress_and_number_of_examples():
    model = Line()
    outcome_of(model, epochs=2)
    assert [progress for _, progress, _ in model.seen] == [step / 8 for step in range(8)]
    assert {examples for _, _, examples in model.seen} == {64}


def test_history_has_a_value_for_every_step_and_term():
    history = outcome_of(Line(), epochs=3)
    assert len(history) == 12
    assert set(history.terms) == {"loss", "signed", "gradient_norm"}
    assert all(len(values) == 12 for values in history.terms.values())
    assert history.profiles["profile"].shape == (12, 3)
    assert history.profiles["profile"][:, 1] == pytest.approx(history.terms["signed"], abs=1e-3)


def test_a_long_profile_is_kept_as_means_over_steps():
    history = outcome_of(Line(), epochs=301)  # 1204 steps, 3 to a row, and a last row of one
    rows = history.profiles["profile"]
    assert rows.shape == (402, 3)
    assert rows[0, 0] == pytest.approx(history.terms["signed"][:3].mean(), abs=1e-3)
    assert rows[-1, 0] == pytest.approx(history.terms["signed"][-1], abs=1e-3)


def test_the_gradient_norm_is_that_of_all_parameters():
    model = Line()
    history = outcome_of(model, count=16, epochs=1)
    fresh = Line()
    x = torch.tensor(model.seen[0][0]).unsqueeze(1)
    noise = engine.Single(fresh, 0, CPU).noises[0]
    loss = (fresh.layer(x) - 3 * x - 0.01 * torch.randn(16, 1, generator=noise)).square().mean()
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in fresh.parameters()]).norm()
    assert history.terms["gradient_norm"][0] == pytest.approx(norm.item(), rel=1e-6)


class BreaksAtStep6(Line):
    def forward(self, step):
        terms = super().forward(step)
        factor = float("nan") if len(self.seen) == 7 else 1.0
        return {**terms, "loss": factor * terms["loss"]}


def test_a_diverged_run_stops_and_says_where():
    model = BreaksAtStep6()
    outcome = outcome_of(model, epochs=10)
    assert isinstance(outcome, Diverged)
    assert str(outcome) == "the loss was not finite at step 6"
    assert outcome.step == 6
    assert len(outcome.history) == 6
    assert np.isfinite(outcome.history.terms["loss"]).all()
    assert outcome.history.profiles["profile"].shape == (6, 3)
    assert len(model.seen) == 8  # the epoch in hand was finished, no other was begun


def test_a_batch_larger_than_the_data_is_the_data():
    assert len(outcome_of(Line(), count=5, batch_size=16, epochs=4)) == 4
