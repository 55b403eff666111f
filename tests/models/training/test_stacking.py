"""Each member of a stack learns what it would learn alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentbench.data.images import ImageData, Split
from latentbench.models import zoo
from latentbench.models.family import fit_stack
from latentbench.models.training.history import Diverged
from latentbench.models.training.recipe import Recipe
from latentbench.models.training.stacking import padded
from latentbench.models.zoo import Training, model_spec

CPU = torch.device("cpu")
HUNDRED_STEPS = Recipe(epochs=10, batch_size=32, learning_rate=1e-3, weight_decay=0.01)
SIZE = {"hidden": 24}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def data():
    images = torch.randint(
        0, 256, (330, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return ImageData("noise", Split(images, None), Split(images[:8], None), ())


def untrained(training, data):
    return zoo.untrained(training, data, CPU)


def alone(training, data):
    model = untrained(training, data)
    history = model.fit(data, training.recipe, seed=training.seed, device=CPU, progress=lambda *_: None)
    return model, history


def together(trainings, data, *, prepare=lambda models: None):
    models = [untrained(training, data) for training in trainings]
    prepare(models)
    outcomes = fit_stack(
        models,
        zoo.stack_pattern(trainings[0].spec),
        data,
        trainings[0].recipe,
        seeds=[training.seed for training in trainings],
        device=CPU,
        progress=lambda *_: None,
    )
    return list(zip(models, outcomes, strict=True))


def grid(family, *variants, recipe=HUNDRED_STEPS, **settings):
    """Trainings of one family: a variant is a width, a seed, and further settings."""
    return [
        Training(model_spec(family=family, latent_dim=width, **SIZE, **settings, **own), recipe, seed)
        for width, seed, own in variants
    ]


VAES = [(2, 0, {"beta": 1.0}), (7, 1, {"beta": 0.25}), (16, 1, {"beta": 4.0}), (7, 0, {"beta": 0.25})]


@pytest.mark.parametrize(
    ("family", "variants", "settings"),
    [
        ("ae", [(2, 0, {}), (16, 1, {})], {}),
        ("vae", VAES, {}),
        ("vae", VAES[:2], {"likelihood": "bernoulli"}),
        ("vae", VAES[:2], {"free_bits": 0.3, "kl_warm_up": 0.5}),
        ("vae", VAES[:2], {"capacity": 3.0}),
        ("vae", VAES[:2], {"sigma": "learned"}),
        ("vae", VAES[:2], {"sigma": "optimal"}),
        ("vae", VAES[:2], {"depth": 2, "activation": "tanh"}),
        ("dae", [(2, 0, {"noise": 0.1}), (16, 1, {"noise": 0.5})], {}),
        ("dae", [(2, 0, {"noise": 0.1}), (16, 1, {"noise": 0.5})], {"corruption": "masking"}),
        ("rae", [(2, 0, {"code_weight": 1.0}), (16, 1, {"decoder_weight": 0.1})], {}),
        ("iwae", [(2, 0, {}), (16, 1, {})], {"k": 3}),
        ("iwae", [(2, 0, {}), (16, 1, {})], {"k": 3, "likelihood": "bernoulli"}),
        ("betatc", [(2, 0, {"beta": 2.0}), (16, 1, {"alpha": 0.5, "gamma": 2.0})], {}),
        ("wae", [(2, 0, {"mmd_weight": 10.0}), (16, 1, {})], {}),
    ],
)
def test_each_member_learns_what_it_would_alone(data, family, variants, settings):
    trainings = grid(family, *variants, **settings)
    for training, (model, history) in zip(trainings, together(trainings, data), strict=True):
        expected_model, expected = alone(training, data)
        assert len(history) == 100
        for name, values in expected.terms.items():
            assert history.terms[name] == pytest.approx(values, rel=2e-4, abs=2e-4), name
        for name, rows in expected.profiles.items():
            assert history.profiles[name].shape == rows.shape == (100, training.spec.latent_dim)
        for name, tensor in expected_model.state_dict().items():
            assert torch.allclose(model.state_dict()[name], tensor, rtol=1e-3, atol=1e-4), name


def test_the_random_stream_is_the_members_own(data):
    """The first step's terms depend on the noise alone: they agree to the last digits."""
    trainings = grid("vae", *VAES)
    for training, (_, history) in zip(trainings, together(trainings, data), strict=True):
        assert history.terms["loss"][0] == pytest.approx(alone(training, data)[1].terms["loss"][0], rel=1e-6)


def test_a_members_weights_do_not_depend_on_its_company(data):
    trainings = grid("vae", *VAES)
    in_fours = [model for model, _ in together(trainings, data)]
    in_twos = [model for pair in (trainings[1:3], trainings[::3]) for model, _ in together(pair, data)]
    for position, other in zip((1, 2, 0, 3), in_twos, strict=True):
        for name, tensor in in_fours[position].state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_diverging_member_does_not_change_the_others(data):
    trainings = grid("vae", (2, 0, {"beta": 1.0}), (7, 0, {}), (16, 1, {"beta": 4.0}))

    def overflow(models):
        with torch.no_grad():
            models[1].to_code.bias.fill_(100.0)  # e¹⁰⁰ is no float32

    first, (_, broken), last = together(trainings, data, prepare=overflow)
    assert isinstance(broken, Diverged)
    assert broken.step == len(broken.history) == 0
    expected = together(trainings[::2], data)
    for (model, history), (other, other_history) in zip((first, last), expected, strict=True):
        assert len(history) == 100
        assert history.terms["loss"].tolist() == other_history.terms["loss"].tolist()
        for name, tensor in other.state_dict().items():
            assert torch.equal(model.state_dict()[name], tensor), name


def test_only_members_missing_from_the_cache_are_trained(data):
    trainings = grid("vae", *VAES)
    first = zoo.train_or_load_stack(trainings[:2], data)
    steps = []
    again = zoo.train_or_load_stack(trainings, data, progress=lambda done, total: steps.append(done))
    assert [trained.card.stacked for trained in again] == [2, 2, 2, 2]
    assert steps == list(range(1, 101))
    for old, new in zip(first, again[:2], strict=True):
        assert torch.equal(old.model.to_code.weight, new.model.to_code.weight)
    fresh = zoo.train_or_load_stack(trainings, data, use_cache=False)
    for one, other in zip(fresh, again, strict=True):
        for name, tensor in one.model.state_dict().items():
            assert torch.equal(tensor, other.model.state_dict()[name]), name


def test_stacks_hold_what_shares_a_shape_and_a_recipe():
    longer = HUNDRED_STEPS.model_copy(update={"epochs": 20})
    trainings = [
        *grid("vae", (2, 0, {}), (8, 1, {"beta": 4.0})),
        *grid("ae", (2, 0, {})),
        *grid("vae", (2, 1, {}), recipe=longer),
        *grid("vae", (4, 0, {}), depth=2),
        *grid("vae", (4, 2, {})),
        Training(model_spec(family="vae", latent_dim=2, backbone="conv"), HUNDRED_STEPS, 0),
        Training(model_spec(family="vae", latent_dim=4, backbone="conv"), HUNDRED_STEPS, 0),
        Training(model_spec(family="pca", latent_dim=2), HUNDRED_STEPS, 0),
    ]
    found = zoo.stacks(trainings, (1, 8, 8), memory_bytes=1e9)
    assert found == [[0, 1, 5], [2], [3], [4], [6], [7], [8]]


def test_a_stack_is_no_larger_than_memory_or_asked_for():
    trainings = grid("vae", *((2, seed, {}) for seed in range(10)))
    assert [len(s) for s in zoo.stacks(trainings, (1, 8, 8), memory_bytes=1e9)] == [10]
    assert [len(s) for s in zoo.stacks(trainings, (1, 8, 8), memory_bytes=1e9, largest=4)] == [4, 4, 2]
    member = zoo.training_bytes(trainings[0], (1, 8, 8))
    assert [len(s) for s in zoo.stacks(trainings, (1, 8, 8), memory_bytes=3.5 * member)] == [3, 3, 3, 1]
    assert [len(s) for s in zoo.stacks(trainings, (1, 8, 8), memory_bytes=1)] == [1] * 10


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=3))
def test_padding_keeps_the_corner_and_adds_zeros(sizes):
    shape = [size for size, _ in sizes]
    tensor = torch.rand(shape) + 1
    out = padded(tensor, [size + more for size, more in sizes])
    assert torch.equal(out[tuple(slice(size) for size in shape)], tensor)
    assert (out != 0).sum() == tensor.numel()
