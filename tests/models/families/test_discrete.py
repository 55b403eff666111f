"""Discrete codes: quantisation, codebook and levels agree with hand-computed values."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import latentbench.data
from latentbench.models import zoo
from latentbench.models.families.discrete.discrete_autoencoder import straight_through
from latentbench.models.families.discrete.fsq import bound
from latentbench.models.protocols import Autoencoder, DiscreteAutoencoder
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import FAMILIES, Training, model_spec

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
SMALL = {"backbone": "mlp", "hidden": 24}
FAMILY = [{"family": "vq", "codes": 16}, {"family": "fsq", "levels": 5}, {"family": "fsq", "levels": 4}]


def build(**spec):
    torch.manual_seed(0)
    return FAMILIES[spec["family"]].build(model_spec(**{**SMALL, **spec}), SHAPE)


@pytest.fixture(scope="module")
def digits():
    return latentbench.data.load("digits")


def trained(data, *, epochs=20, **settings):
    spec = model_spec(**{**SMALL, "hidden": 64, **settings})
    model = zoo.untrained(Training(spec, Recipe(), 0), data, CPU)
    recipe = Recipe(epochs=epochs, batch_size=64)
    return model, model.fit(data, recipe, seed=0, device=CPU, progress=lambda *_: None)


# Both families


@pytest.mark.parametrize("spec", FAMILY)
def test_discrete_family_meets_the_model_protocol(spec):
    model = build(latent_dim=4, **spec)
    assert isinstance(model, DiscreteAutoencoder)
    assert not isinstance(build(family="ae", latent_dim=4), DiscreteAutoencoder)
    posterior = model.encode(torch.rand(3, *SHAPE))
    assert posterior.mean.shape == (3, 4)
    assert posterior.log_var is None
    assert isinstance(model, Autoencoder)


@settings(max_examples=40, deadline=None)
@given(
    spec=st.sampled_from(
        [*FAMILY, {"family": "vq", "codes": 7, "code_dim": 3}, {"family": "fsq", "levels": 2}]
    ),
    seed=st.integers(0, 1000),
    positions=st.integers(1, 5),
)
def test_codes_and_indices_are_inverse_to_each_other(spec, seed, positions):
    width = positions * (spec.get("code_dim", 2) if spec["family"] == "vq" else 1)
    model = build(latent_dim=width, **spec)
    assert len(model.code_sizes) == positions
    generator = torch.Generator().manual_seed(seed)
    indices = torch.stack(
        [torch.randint(size, (20,), generator=generator) for size in model.code_sizes], dim=1
    )
    codes = model.codes(indices)
    assert codes.shape == (20, width)
    again = model.indices(codes)
    assert again.dtype == torch.int64
    assert torch.equal(again, indices)
    # From any point, once quantised, nothing moves any more.
    anywhere = 3 * torch.randn(20, width, generator=generator)
    nearest = model.codes(model.indices(anywhere))
    assert torch.equal(model.codes(model.indices(nearest)), nearest)
    assert ((model.indices(anywhere) >= 0) & (model.indices(anywhere) < model.code_sizes[0])).all()


@pytest.mark.parametrize("spec", FAMILY)
def test_the_nearest_code_is_nearest_by_brute_force(spec):
    width = 2
    model = build(latent_dim=width, **spec)
    grid = [torch.arange(size) for size in model.code_sizes]
    every = model.codes(torch.cartesian_prod(*grid).reshape(-1, len(grid)))
    z = 2 * torch.randn(200, width, generator=torch.Generator().manual_seed(1))
    chosen = model.codes(model.indices(z))
    best = (z[:, None] - every).norm(dim=2).min(1).values
    assert torch.allclose((z - chosen).norm(dim=1), best, atol=1e-6)


@pytest.mark.parametrize("spec", FAMILY)
def test_only_valid_codes_are_decoded(spec):
    model = build(latent_dim=4, **spec)
    z = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    code = model.codes(model.indices(z))
    assert not torch.allclose(code, z, atol=1e-3)
    assert torch.equal(model.decode(z), model.decode(code))
    assert torch.equal(model.decode(code), torch.sigmoid(model.decoder(code)))


def test_the_gradient_goes_straight_through():
    z = torch.tensor([[0.3, -1.2]], requires_grad=True)
    value = torch.tensor([[0.1, 7.7]], requires_grad=True)
    out = straight_through(value, z)
    assert torch.equal(out, value)
    (out * torch.tensor([[3.0, -2.0]])).sum().backward()
    assert z.grad.tolist() == [[3.0, -2.0]]
    assert value.grad is None


@pytest.mark.parametrize("spec", FAMILY)
def test_the_gradient_at_the_code_arrives_at_the_points(spec):
    """decode's gradient in any point is the decoder's at the code that the point is nearest to."""
    model = build(latent_dim=4, **spec)
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    code = model.codes(model.indices(z)).detach().requires_grad_()
    weight = torch.rand(5, *SHAPE)
    (model.decode(z) * weight).sum().backward()
    (torch.sigmoid(model.decoder(code)) * weight).sum().backward()
    assert code.grad.abs().min() > 0
    assert torch.equal(z.grad, code.grad)


@pytest.mark.parametrize("spec", [{"family": "vq", "codes": 64}, {"family": "fsq", "levels": 5}])
def test_training_lowers_the_error_and_uses_many_codes(digits, spec):
    model, history = trained(digits, latent_dim=8, **spec)
    error = history.terms["reconstruction"]
    x = digits.test.images.float() / 255
    with torch.inference_mode():
        codes = model.encode(x).mean
        test_error = (model.decode(codes) - x).square().flatten(1).sum(1).mean().item()
        indices = model.indices(codes)
    mean_image = (x - x.mean(0)).square().flatten(1).sum(1).mean().item()
    assert error[-20:].mean() < 0.5 * error[:5].mean()
    assert test_error < 0.6 * mean_image
    # What the model is for use is what it was in training.
    assert test_error == pytest.approx(float(error[-20:].mean()), rel=0.15)
    used = [len(values.unique()) / size for values, size in zip(indices.T, model.code_sizes, strict=True)]
    assert min(used) > 0.4


@pytest.mark.parametrize("spec", [{"family": "vq", "codes": 32}, {"family": "fsq"}])
def test_the_same_seed_gives_the_same_weights(digits, spec):
    first, second = (trained(digits, epochs=2, latent_dim=4, **spec)[0].state_dict() for _ in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_half_precision_leaves_the_codebook_alone(digits):
    spec = model_spec(family="vq", latent_dim=4, codes=32, **SMALL)
    model = zoo.untrained(Training(spec, Recipe(), 0), digits, CPU)
    recipe = Recipe(epochs=1, batch_size=64, precision="bf16")
    model.fit(digits, recipe, seed=0, device=CPU, progress=lambda *_: None)
    for buffer in (model.codebook, model.counts, model.sums):
        assert buffer.dtype == torch.float32
        # Not numbers of half precision in disguise.
        assert not torch.equal(buffer, buffer.bfloat16().float())
    assert set(model.state_dict()) >= {"codebook", "counts", "sums"}


# Finite scalar quantisation


def test_codes_do_not_collapse_for_any_initial_decoder(digits):
    """Backbone `conv` does not start at the mean image: unstandardised, every image got one code there."""
    settings = {"family": "fsq", "latent_dim": 4, "backbone": "conv", "hidden": 4}
    model, _ = trained(digits, epochs=3, **settings)
    x = digits.test.images.float() / 255
    used = [len(values.unique()) for values in model.indices(model.encode(x).mean).T]
    assert min(used) >= 4


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 8, 1000])
def test_the_bound_reaches_every_level_and_no_other(levels):
    integers = bound(torch.linspace(-12, 12, 200_001, dtype=torch.float64), levels).round()
    lowest = -(levels // 2)
    assert integers.unique().tolist() == list(range(lowest, lowest + levels))


def test_the_bound_by_the_papers_formulas():
    """Five levels: tanh(z) · 1.998. Four: tanh(z + tan(0.5 / 1.4985)) · 1.4985 − 0.5."""
    z = torch.tensor([-0.7, 0.0, 0.2, 1.5])
    odd = [1.998 * math.tanh(v) for v in z.tolist()]
    assert bound(z, 5).tolist() == pytest.approx(odd, abs=1e-6)
    even = [1.4985 * math.tanh(v + math.tan(0.5 / 1.4985)) - 0.5 for v in z.tolist()]
    assert bound(z, 4).tolist() == pytest.approx(even, abs=1e-6)
    assert abs(bound(torch.zeros(()), 4).item()) < 0.02


@pytest.mark.parametrize(
    ("levels", "values"),
    [(2, [-1, 0]), (3, [-1, 0, 1]), (4, [-1, -0.5, 0, 0.5]), (5, [-1, -0.5, 0, 0.5, 1])],
)
def test_levels_are_the_integers_over_half_their_number(levels, values):
    model = build(family="fsq", latent_dim=1, levels=levels)
    assert model.codes(torch.arange(levels).unsqueeze(1)).flatten().tolist() == values
    beyond = torch.tensor([[-9.0], [9.0]])
    assert model.codes(model.indices(beyond)).flatten().tolist() == [values[0], values[-1]]


def test_before_training_the_code_is_the_papers():
    model = build(family="fsq", latent_dim=3, levels=5)
    model.to_code.weight.data.mul_(20)
    x = torch.rand(50, *SHAPE, generator=torch.Generator().manual_seed(0))
    expected = (torch.tanh(model.to_code(model.encoder(x))) * 1.998).round() / 2
    assert len(expected.unique()) == 5
    assert torch.equal(model.encode(x).mean, expected)


def test_after_training_the_trains_images_are_standardised(digits):
    model, _ = trained(digits, epochs=2, latent_dim=4, family="fsq")
    x = digits.train.images.float() / 255
    numbers = model.to_code(model.encoder(x)).detach()
    assert torch.allclose(model.centre, numbers.mean(0), atol=1e-4)
    assert torch.allclose(model.variance, numbers.var(0, correction=0), rtol=1e-3)
    expected = bound((numbers - numbers.mean(0)) / numbers.std(0), 5)
    clear = (expected - expected.floor() - 0.5).abs() > 0.01
    assert torch.equal((2 * model.encode(x).mean)[clear], expected.round()[clear])
