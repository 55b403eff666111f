"""On a GPU, steps are replayed: every family's, with the numbers of steps that are not."""

import pytest
import torch

from latentbench.data.images import ImageData, Split
from latentbench.models import zoo
from latentbench.models.family import GradientFamily, fit_stack
from latentbench.models.training import engine, replay
from latentbench.models.training.history import Diverged
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

RECIPE = Recipe(epochs=5, batch_size=32, learning_rate=1e-4)
GRADIENT_FAMILIES = [name for name, family in zoo.FAMILIES.items() if issubclass(family, GradientFamily)]


@pytest.fixture(scope="module")
def data():
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (320, 1, 28, 28), dtype=torch.uint8, generator=draws)
    labels = torch.arange(320) % 10
    names = tuple(str(digit) for digit in range(10))
    return ImageData("mnist", Split(images, labels), Split(images[:20], labels[:20]), names)


@pytest.fixture
def replays(monkeypatch):
    """All replays that the engine makes."""
    made = []

    class Heard(replay.Replay):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(engine, "Replay", Heard)
    return made


def fitted(spec, data, recipe=RECIPE):
    device = torch.device("cuda")
    model = zoo.untrained(Training(spec, recipe, 0), data, device)
    return model, model.fit(data, recipe, seed=0, device=device, progress=lambda *_: None)


@pytest.mark.parametrize("family", GRADIENT_FAMILIES)
def test_no_family_waits_for_the_device_in_a_step(family, data, replays):
    fitted(model_spec(family=family, latent_dim=8), data)
    assert [each._graph is not None for each in replays] == [True]


@pytest.mark.parametrize(
    "settings",
    [{}, {"backbone": "conv"}, {"backbone": "conv", "code": "grid"}, {"backbone": "book"}],
    ids=["mlp", "conv", "grid", "book"],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_replayed_training_is_the_training_step_by_step(settings, precision, data, replays, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    spec = model_spec(family="vae", latent_dim=8, **settings)
    recipe = RECIPE.model_copy(update={"precision": precision})
    model, history = fitted(spec, data, recipe)
    monkeypatch.setattr(replay, "FIRST_CALLS", 10**9)
    other, other_history = fitted(spec, data, recipe)
    assert [each._graph is not None for each in replays] == [True, False]
    assert history.terms["loss"] == pytest.approx(other_history.terms["loss"], rel=1e-3)
    if not settings:  # convolutions add in an order that changes from run to run
        for ours, others in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.equal(ours, others)


def test_stack_continues_without_a_diverged_member(data, replays):
    recipe = RECIPE.model_copy(update={"epochs": 6})
    trainings = [Training(model_spec(family="vae", latent_dim=8), recipe, seed) for seed in range(3)]
    device = torch.device("cuda")

    def together(*, broken):
        models = [zoo.untrained(training, data, device) for training in trainings]
        if broken:
            with torch.no_grad():
                next(models[1].parameters()).fill_(float("nan"))
        pattern = zoo.stack_pattern(trainings[0].spec)
        seeds = [training.seed for training in trainings]
        return fit_stack(models, pattern, data, recipe, seeds=seeds, device=device, progress=lambda *_: None)

    whole, broken = together(broken=False), together(broken=True)
    assert [isinstance(outcome, Diverged) for outcome in broken] == [False, True, False]
    for position in (0, 2):
        ours, others = broken[position].terms["loss"], whole[position].terms["loss"]
        assert len(ours) == 60
        assert ours == pytest.approx(others, rel=1e-3)
    assert all(each._graph is not None for each in replays)


def test_a_call_that_waits_is_run_every_time():
    ran = []

    def call(x):
        ran.append(x.sum().item())
        return {"loss": x * 2}

    repeated = replay.Replay(call, ())
    with replay.own_stream(torch.device("cuda")):
        for value in range(6):
            outputs = repeated(torch.full((4,), float(value), device="cuda"))
            assert outputs["loss"].tolist() == 4 * [2.0 * value]
    assert ran == [0, 4, 8, 12, 16, 20]
    assert repeated.waits
