"""AdamW takes the steps of torch.optim, and costs no import of torch's compiler."""

import subprocess
import sys

import pytest
import torch

from latentbench.models.training.adamw import AdamW


def parameters():
    draws = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draws).requires_grad_() for shape in ((4, 3), (3,), (2,))]


def take_steps(optimiser, given, count, forget):
    """Minimise a sum of squares of the first two parameters; the third one has no gradient."""
    for _ in range(count):
        forget()
        sum((parameter - 1).square().sum() for parameter in given[:2]).backward()
        optimiser.step()


@pytest.mark.parametrize("rate_of", [float, torch.tensor])
def test_steps_are_those_of_torch(rate_of):
    ours, theirs = parameters(), parameters()
    optimiser = AdamW(ours, rate_of(0.1), betas=(0.8, 0.95), weight_decay=0.3)
    reference = torch.optim.AdamW(theirs, rate_of(0.1), betas=(0.8, 0.95), weight_decay=0.3, fused=True)
    take_steps(optimiser, ours, 5, optimiser.forget_gradients)
    take_steps(reference, theirs, 5, reference.zero_grad)
    assert all(map(torch.equal, ours, theirs))
    assert not torch.equal(ours[0], parameters()[0])

    optimiser.set_rate(0.01)
    reference.param_groups[0]["lr"] = rate_of(0.01)
    take_steps(optimiser, ours, 1, optimiser.forget_gradients)
    take_steps(reference, theirs, 1, reference.zero_grad)
    assert all(map(torch.equal, ours, theirs))


def test_rows_that_are_kept_keep_their_moments():
    """After half of the steps only two rows are left: they move as they do among the others."""
    whole, part = parameters(), parameters()
    alone, among = (AdamW(each, 0.1, weight_decay=0.1) for each in (part, whole))
    take_steps(among, whole, 6, among.forget_gradients)
    take_steps(alone, part, 3, alone.forget_gradients)
    kept = torch.tensor([0, 2])
    rest = part[0].detach()[kept].requires_grad_()
    alone.replace(part[0], rest, kept)
    take_steps(alone, [rest, *part[1:]], 3, alone.forget_gradients)
    assert torch.equal(rest, whole[0][kept])


TRAINING = """
import sys
import torch
from latentbench.analysis.statistics.fitting import fit
from latentbench.models.training.engine import Single, train
from latentbench.models.training.recipe import Recipe

class Line(torch.nn.Linear):
    def draws(self, batch_size):
        return {}
    def forward(self, step):
        return {"loss": super().forward(step.rows[0]).square().mean()}

line = Line(1, 1)
train(Single(line, 0, torch.device("cpu")), (torch.ones(4, 1),), Recipe(epochs=1), progress=lambda *_: None)
fit(lambda: line.weight.sum(), line.parameters(), steps=5, learning_rate=0.1, weight_decay=0)
sys.exit("torch._dynamo" in sys.modules)
"""


def test_training_does_not_import_the_compiler_of_torch():
    assert subprocess.run([sys.executable, "-c", TRAINING]).returncode == 0
