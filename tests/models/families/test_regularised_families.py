"""DAE, RAE, IWAE, β-TCVAE and WAE: losses agree with independent references, and the models learn."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from latentbench.data import load
from latentbench.data.errors import LatentbenchError
from latentbench.models.families.variational.betatc import kl_parts
from latentbench.models.families.variational.wae import squared_mmd
from latentbench.models.training.engine import Step
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import FAMILIES, model_spec

CPU = torch.device("cpu")
EXAMPLES = 1000
SHAPE = (1, 8, 8)


def build(image_shape=SHAPE, **spec):
    torch.manual_seed(0)
    return FAMILIES[spec["family"]].build(model_spec(hidden=32, **spec), image_shape)


def step_for(model, count, seed=0):
    noise = torch.Generator().manual_seed(seed)
    draws = {name: draw.sample(noise) for name, draw in model.draws(count).items()}
    return Step((torch.empty(0),), draws, progress=torch.tensor(1.0), examples=EXAMPLES)


def images(count=6, shape=SHAPE, seed=1):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def values(terms):
    return {name: term.item() for name, term in terms.items() if term.ndim == 0}


def summed_squares(a, b):
    """The mean over a batch of squared errors, pixel by pixel."""
    return sum((p - q) ** 2 for p, q in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)) / len(a)


def latent(model, x, noise):
    """q(z | x), and the codes that `noise` draws from it."""
    posterior = model.encode(x)
    q = Independent(Normal(posterior.mean, posterior.log_var.exp().sqrt()), 1)
    return q, q.base_dist.loc + q.base_dist.scale * noise


def prior(dims):
    return Independent(Normal(torch.zeros(dims), torch.ones(dims)), 1)


# Denoising autoencoder


def test_dae_rebuilds_the_clean_image_from_a_noisy_one():
    model, x = build(family="dae", latent_dim=3, noise=0.4), images()
    step = step_for(model, len(x))
    noisy = x + 0.4 * step.draws["corruption"]
    expected = summed_squares(x, model.decode(model.encode(noisy).mean))
    terms = values(model.loss(x, step))
    assert terms == {
        "loss": pytest.approx(expected, rel=1e-5),
        "reconstruction": pytest.approx(expected, rel=1e-5),
    }


def test_masking_blackens_its_share_of_whole_pixels_and_no_more():
    model = build((3, 32, 32), family="dae", latent_dim=3, corruption="masking", noise=0.3)
    x = images(8, (3, 32, 32)) + 0.1
    step = step_for(model, len(x))
    seen = model.corrupted(x, step)
    black = seen == 0
    assert torch.equal(seen[~black], x[~black])
    assert torch.equal(black.all(1), black.any(1))
    assert black.float().mean().item() == pytest.approx(0.3, abs=0.02)
    expected = summed_squares(x, model.decode(model.encode(seen).mean))
    assert model.loss(x, step)["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("corruption", ["gaussian", "masking"])
def test_dae_without_noise_is_an_autoencoder(corruption):
    x = images()
    plain = build(family="ae", latent_dim=3)
    model = build(family="dae", latent_dim=3, corruption=corruption, noise=0)
    loss = model.loss(x, step_for(model, len(x)))["loss"]
    assert loss.item() == plain.loss(x, step_for(plain, len(x)))["loss"].item()


def test_dae_encodes_images_as_they_are():
    plain, model, x = build(family="ae", latent_dim=3), build(family="dae", latent_dim=3), images()
    assert torch.equal(model.encode(x).mean, plain.encode(x).mean)


def test_a_share_of_pixels_above_one_is_refused():
    with pytest.raises(LatentbenchError, match=r"noise .*at most 1, got 1.5"):
        model_spec(family="dae", latent_dim=2, corruption="masking", noise=1.5)
    assert model_spec(family="dae", latent_dim=2, noise=1.5).noise == 1.5


# Regularised autoencoder


def test_rae_loss_by_hand():
    model, x = build(family="rae", latent_dim=3, depth=2, code_weight=0.7, decoder_weight=0.02), images()
    terms = values(model.loss(x, step_for(model, len(x))))
    z = model.encode(x).mean
    code = sum(value**2 for row in z.tolist() for value in row) / 2 / len(x)
    layers = [layer for layer in model.decoder if isinstance(layer, torch.nn.Linear)]
    assert len(layers) == 3
    decoder = sum(torch.linalg.matrix_norm(layer.weight.double()).item() ** 2 for layer in layers)
    error = summed_squares(x, model.decode(z))
    assert terms == {
        "reconstruction": pytest.approx(error, rel=1e-5),
        "code_penalty": pytest.approx(code, rel=1e-5),
        "decoder_penalty": pytest.approx(decoder, rel=1e-5),
        "loss": pytest.approx(error + 0.7 * code + 0.02 * decoder, rel=1e-5),
    }


def test_rae_penalises_kernels_but_neither_biases_nor_norms():
    model = FAMILIES["rae"].build(model_spec(family="rae", latent_dim=2, backbone="book"), (1, 28, 28))
    x = images(2, (1, 28, 28))
    before = model.loss(x, step_for(model, 2))["decoder_penalty"].item()
    with torch.no_grad():
        for layer in model.decoder:
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.mul_(3)
            if getattr(layer, "bias", None) is not None:
                layer.bias.add_(1)
    assert model.loss(x, step_for(model, 2))["decoder_penalty"].item() == before
    with torch.no_grad():
        model.decoder[2].weight.add_(1)
    assert model.loss(x, step_for(model, 2))["decoder_penalty"].item() > before


def test_rae_without_penalties_is_an_autoencoder():
    x = images()
    plain = build(family="ae", latent_dim=3)
    model = build(family="rae", latent_dim=3, code_weight=0, decoder_weight=0)
    loss = model.loss(x, step_for(model, len(x)))["loss"]
    assert loss.item() == pytest.approx(plain.loss(x, step_for(plain, len(x)))["loss"].item(), rel=1e-7)


# Importance-weighted autoencoder


def reference_log_weights(model, x, noise, observed):
    """ln w and ln p(x | z), lists of one `[B]` a code, from torch's distributions."""
    log_weights, log_likelihoods = [], []
    for each in noise:
        q, z = latent(model, x, each)
        if model.likelihood == "bernoulli":
            likelihood = Bernoulli(model.decode(z))
        else:
            likelihood = Normal(model.decode(z), model.spec.sigma)
        log_likelihoods.append(Independent(likelihood, 3).log_prob(observed))
        log_weights.append(log_likelihoods[-1] + prior(z.shape[1]).log_prob(z) - q.log_prob(z))
    return log_weights, log_likelihoods


@pytest.mark.parametrize("likelihood", [{"likelihood": "bernoulli"}, {"sigma": 0.4}])
def test_iwae_loss_against_torch_distributions(likelihood):
    model, x = build(family="iwae", latent_dim=3, k=4, **likelihood), images()
    step = step_for(model, len(x))
    # A Bernoulli model sees black and white, in the encoder too.
    observed = (x > step.draws["pixels"]).float() if "likelihood" in likelihood else x
    log_weights, log_likelihoods = reference_log_weights(model, observed, step.draws["code"], observed)
    bound = 0.0
    for image in range(len(x)):
        logs = [each[image].item() for each in log_weights]
        bound += max(logs) + math.log(sum(math.exp(log - max(logs)) for log in logs) / 4)
    q, _ = latent(model, observed, step.draws["code"][0])
    kl = kl_divergence(q.base_dist, Normal(0.0, 1.0)).mean(0)
    terms = model.loss(x, step)
    assert terms["kl_per_dim"].tolist() == pytest.approx(kl.tolist(), rel=1e-5)
    assert values(terms) == {
        "loss": pytest.approx(-bound / len(x), rel=1e-5),
        "reconstruction": pytest.approx(-torch.stack(log_likelihoods).mean().item(), rel=1e-5),
        "kl": pytest.approx(kl.sum().item(), rel=1e-5),
    }


def test_iwae_with_one_code_is_a_vae_whose_kl_is_sampled():
    x = images()
    model, vae = (
        build(family=family, latent_dim=3, **own) for family, own in (("iwae", {"k": 1}), ("vae", {}))
    )
    step = step_for(model, len(x))
    q, z = latent(model, x, step.draws["code"][0])
    terms = values(model.loss(x, step))
    like_vae = Step(step.rows, {"code": step.draws["code"][0]}, step.progress, step.examples)
    expected = values(vae.loss(x, like_vae))
    assert terms["reconstruction"] == pytest.approx(expected["reconstruction"], rel=1e-6)
    assert terms["kl"] == pytest.approx(expected["kl"], rel=1e-6)
    sampled_kl = (q.log_prob(z) - prior(3).log_prob(z)).mean().item()
    assert terms["loss"] == pytest.approx(expected["reconstruction"] + sampled_kl, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.sampled_from([(1, 16), (1, 2), (2, 4), (4, 16), (8, 16)]))
def test_the_bound_rises_with_the_codes_behind_it(seed, sizes):
    """ln of a mean is at least the mean of ln: of the same draws, and so of the expectations too."""
    few, many = sizes
    x = images(4, seed=seed)
    one = build(family="iwae", latent_dim=3, k=many, sigma=0.2)
    step = step_for(one, len(x), seed)
    bound = -one.loss(x, step)["loss"].item()
    one.k = few
    bounds = [
        -one.loss(x, Step(step.rows, {"code": codes}, step.progress, step.examples))["loss"].item()
        for codes in step.draws["code"].split(few)
    ]
    assert bound > sum(bounds) / len(bounds)


def test_with_many_codes_the_bound_is_the_likelihood():
    """A decoder that ignores its code knows ln p(x) in closed form; one code falls short of it by the KL."""
    x = images(3)
    short = {}
    for k in (1, 4000):
        model = build(family="iwae", latent_dim=2, k=k)
        with torch.no_grad():
            model.decoder[0].weight.zero_()
            model.to_code.bias.copy_(torch.tensor([0.8, 0.3, -0.8, 0.3]))  # mean, ln variance, twice
            model.to_code.weight.mul_(0.1)
            evidence = (
                Independent(Normal(model.decode(torch.zeros(3, 2)), 0.5**0.5), 3).log_prob(x).mean().item()
            )
            losses = [values(model.loss(x, step_for(model, 3, seed))) for seed in range(4000 // k)]
        short[k] = sum(terms["loss"] for terms in losses) / len(losses) + evidence
        kl = losses[0]["kl"]
    assert kl > 0.5
    assert short[1] == pytest.approx(kl, abs=0.05)
    assert short[4000] == pytest.approx(0, abs=0.05)


# β-TCVAE


def gaussians(count, dims, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean, log_var, noise = torch.randn(3, count, dims, generator=generator, dtype=torch.float64)
    return mean + noise * (0.5 * log_var).exp(), mean, log_var


def parts(z, mean, log_var, *, examples=EXAMPLES, in_use=None):
    used = torch.ones(z.shape[1]) if in_use is None else in_use
    return [part.item() for part in kl_parts(z, mean, log_var, examples=examples, in_use=used)]


def reference_parts(z, mean, log_var, examples):
    """Minibatch-weighted sampling, one density at a time."""
    count, dims = z.shape
    density = [[[0.0] * dims for _ in range(count)] for _ in range(count)]
    for i in range(count):
        for j in range(count):
            for d in range(dims):
                sd = math.exp(log_var[j, d].item() / 2)
                gap = (z[i, d].item() - mean[j, d].item()) / sd
                density[i][j][d] = math.exp(-gap * gap / 2) / (sd * math.sqrt(2 * math.pi))
    sums = [0.0, 0.0, 0.0]
    for i in range(count):
        joint = sum(math.prod(density[i][j]) for j in range(count)) / (count * examples)
        product = math.prod(
            sum(density[i][j][d] for j in range(count)) / (count * examples) for d in range(dims)
        )
        p = math.prod(math.exp(-(value**2) / 2) / math.sqrt(2 * math.pi) for value in z[i].tolist())
        sums[0] += math.log(math.prod(density[i][i]) / joint) / count
        sums[1] += math.log(joint / product) / count
        sums[2] += math.log(product / p) / count
    return sums


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000), count=st.integers(1, 6), dims=st.integers(1, 4), examples=st.integers(6, 999)
)
def test_the_parts_of_the_kl_against_plain_loops(seed, count, dims, examples):
    batch = gaussians(count, dims, seed)
    expected = reference_parts(*batch, examples)
    assert parts(*batch, examples=examples) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), dims=st.integers(1, 6), examples=st.integers(8, 10**6))
def test_parts_add_up_to_the_sampled_kl(seed, dims, examples):
    z, mean, log_var = gaussians(8, dims, seed)
    q = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    expected = (q.log_prob(z) - prior(dims).log_prob(z)).mean().item()
    assert sum(parts(z, mean, log_var, examples=examples)) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_a_single_dimension_has_no_total_correlation():
    assert parts(*gaussians(32, 1))[1] == pytest.approx(0, abs=1e-12)


def test_parts_of_a_normal_aggregate_have_closed_forms():
    """Means on a diagonal, N(0, s²), and variance v: two dimensions of correlation s² / (s² + v)."""
    generator = torch.Generator().manual_seed(0)
    on_diagonal = 1.2 * torch.randn(3000, 1, generator=generator, dtype=torch.float64)
    mean, variance = on_diagonal.expand(-1, 2), 0.5
    z = mean + variance**0.5 * torch.randn(3000, 2, generator=generator, dtype=torch.float64)
    total = 1.2**2 + variance
    determinant = total**2 - 1.2**4
    information = math.log(determinant / variance**2) / 2
    correlation = -math.log(determinant / total**2) / 2
    dimension_kl = 2 * (total - 1 - math.log(total)) / 2
    log_n = math.log(EXAMPLES)
    expected = [information + log_n, correlation + log_n, dimension_kl - 2 * log_n]
    log_var = torch.full_like(z, math.log(variance))
    assert parts(z, mean, log_var) == pytest.approx(expected, abs=0.04)


@given(examples=st.integers(1, 10**6), dims=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_parts_of_an_uninformative_code_are_multiples_of_log_n(examples, dims):
    z = torch.randn(5, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(dims))
    nothing = torch.zeros(5, dims, dtype=torch.float64)
    log = math.log(examples)
    expected = [log, (dims - 1) * log, -dims * log]
    assert parts(z, nothing, nothing, examples=examples) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_padded_dimensions_add_nothing_to_the_parts():
    batch = gaussians(7, 3)
    wide = [torch.nn.functional.pad(tensor, (0, 5)) for tensor in batch]
    in_use = torch.tensor([1.0] * 3 + [0.0] * 5)
    assert parts(*wide, in_use=in_use) == pytest.approx(parts(*batch), rel=1e-12)
    assert parts(*wide)[1] > parts(*batch)[1] + 10


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_betatc_loss_is_the_weighted_sum_of_its_parts(likelihood):
    weights = {"alpha": 0.5, "beta": 3.0, "gamma": 2.0}
    model, x = build(family="betatc", latent_dim=3, likelihood=likelihood, **weights), images()
    step = step_for(model, len(x))
    observed = x if likelihood == "gaussian" else (x > step.draws["pixels"]).float()
    q, z = latent(model, observed, step.draws["code"])
    expected = reference_parts(z, q.base_dist.loc, q.base_dist.scale.log() * 2, EXAMPLES)
    reconstruction = -model.log_likelihood(observed, z).mean().item()
    kl = kl_divergence(q.base_dist, Normal(0.0, 1.0)).mean(0)
    terms = model.loss(x, step)
    assert terms["kl_per_dim"].tolist() == pytest.approx(kl.tolist(), rel=1e-5)
    weighted = sum(weight * part for weight, part in zip(weights.values(), expected, strict=True))
    assert values(terms) == {
        "loss": pytest.approx(reconstruction + weighted, rel=1e-5),
        "reconstruction": pytest.approx(reconstruction, rel=1e-5),
        "mutual_information": pytest.approx(expected[0], rel=1e-5),
        "total_correlation": pytest.approx(expected[1], rel=1e-5),
        "dimension_kl": pytest.approx(expected[2], rel=1e-5),
        "kl": pytest.approx(kl.sum().item(), rel=1e-5),
    }


def test_betatc_with_unit_weights_is_a_vae_with_sampled_kl():
    x = images()
    model = build(family="betatc", latent_dim=3, alpha=1, beta=1, gamma=1)
    sampled = build(family="iwae", latent_dim=3, k=1)
    step = step_for(model, len(x))
    like_iwae = Step(step.rows, {"code": step.draws["code"].unsqueeze(0)}, step.progress, step.examples)
    expected = sampled.loss(x, like_iwae)["loss"].item()
    assert model.loss(x, step)["loss"].item() == pytest.approx(expected, rel=1e-5)


# Wasserstein autoencoder


def reference_mmd(a, b, dims):
    """The U-statistic, pair by pair."""

    def kernel(x, y):
        distance = sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
        return sum(2 * dims * s / (2 * dims * s + distance) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))

    a, b = a.tolist(), b.tolist()
    n = len(a)
    within = sum(kernel(s[i], s[j]) for s in (a, b) for i in range(n) for j in range(n) if i != j)
    across = sum(kernel(x, y) for x in a for y in b)
    return within / (n * (n - 1)) - 2 * across / n**2


def mmd(a, b, dims):
    return squared_mmd(a, b, dims=torch.tensor(float(dims))).item()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 8), dims=st.integers(1, 5))
def test_mmd_against_a_double_loop(seed, count, dims):
    a, b = torch.randn(2, count, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a = 2 * a + 0.5
    assert mmd(a, b, dims) == pytest.approx(reference_mmd(a, b, dims), rel=1e-5, abs=1e-9)


def test_mmd_has_no_bias_and_sees_a_shift_and_a_spread():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 2000, 10, 4, generator=generator)
    of_ten = torch.tensor([mmd(x, y, 4) for x, y in zip(a, b, strict=True)])
    # With the pairs of a point with itself the mean would be 0.5: 2 (7 − E k) / 10.
    assert abs(of_ten.mean()) < 4 * of_ten.std() / len(of_ten) ** 0.5 < 0.03
    x, y = a.flatten(0, 1)[:1000], b.flatten(0, 1)[:1000]
    assert abs(mmd(x, y, 4)) < 0.02
    assert mmd(x + 0.5, y, 4) > 0.1
    assert mmd(0.5 * x, y, 4) > 0.1


def test_mmd_is_the_same_in_half_precision_and_with_padding():
    a, b = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0))
    expected = mmd(a, b, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert mmd(a, b, 3) == expected
    padded = [torch.nn.functional.pad(sample, (0, 29)) for sample in (a, b)]
    assert mmd(*padded, 3) == pytest.approx(expected, rel=1e-5)


def test_wae_loss_by_hand():
    model, x = build(family="wae", latent_dim=3, mmd_weight=5.0), images()
    step = step_for(model, len(x))
    z = model.encode(x).mean
    error = summed_squares(x, model.decode(z))
    discrepancy = reference_mmd(z, step.draws["prior"], 3)
    assert values(model.loss(x, step)) == {
        "reconstruction": pytest.approx(error, rel=1e-5),
        "mmd": pytest.approx(discrepancy, rel=1e-5),
        "loss": pytest.approx(error + 5 * discrepancy, rel=1e-5),
    }


def test_wae_needs_two_images():
    with pytest.raises(LatentbenchError, match=r"'wae' .*batch_size must be ≥ 2, got 1"):
        build(family="wae", latent_dim=3).draws(1)


# All of them


@pytest.mark.parametrize(
    ("given_settings", "label"),
    [
        ({"family": "dae"}, "dae-16 noise=0.3"),
        ({"family": "dae", "corruption": "masking", "noise": 0.5}, "dae-16 masking noise=0.5"),
        ({"family": "rae"}, "rae-16"),
        ({"family": "rae", "code_weight": 1}, "rae-16 code weight=1"),
        ({"family": "iwae"}, "iwae-16 k=5"),
        ({"family": "iwae", "likelihood": "bernoulli", "k": 50}, "iwae-16 bernoulli k=50"),
        ({"family": "betatc"}, "betatc-16 β=6"),
        ({"family": "betatc", "beta": 2}, "betatc-16 β=2"),
        ({"family": "wae"}, "wae-16"),
        ({"family": "wae", "mmd_weight": 50}, "wae-16 mmd weight=50"),
    ],
)
def test_labels_say_what_sets_a_model_apart(given_settings, label):
    assert model_spec(latent_dim=16, **given_settings).label == label


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def trained(data, **spec):
    model = build(**spec)
    recipe = Recipe(epochs=30, batch_size=64, learning_rate=1e-2)
    history = model.fit(data, recipe, seed=0, device=CPU, progress=lambda *_: None)
    return model, history


def unexplained(model, x):
    """Squared error as a share of that of the mean image."""
    with torch.no_grad():
        error = (x - model.decode(model.encode(x).mean)).square().sum()
    return (error / (x - x.mean(0)).square().sum()).item()


@pytest.mark.parametrize(
    ("settings_", "terms"),
    [
        ({"family": "dae"}, set()),
        ({"family": "dae", "corruption": "masking"}, set()),
        ({"family": "rae"}, {"code_penalty", "decoder_penalty"}),
        ({"family": "iwae", "sigma": 0.1}, {"kl", "kl_per_dim"}),
        (
            {"family": "betatc", "sigma": 0.1},
            {"kl", "kl_per_dim", "mutual_information", "total_correlation", "dimension_kl"},
        ),
        ({"family": "wae"}, {"mmd"}),
    ],
)
def test_it_learns(digits, settings_, terms):
    model, history = trained(digits, latent_dim=8, **settings_)
    assert set(history.arrays()) == terms | {"loss", "reconstruction", "gradient_norm"}
    reconstruction = history.terms["reconstruction"]
    assert reconstruction[-10:].mean() < 0.4 * reconstruction[:3].mean()
    assert unexplained(model, digits.test.images.float() / 255) < 0.5


def test_a_dae_cleans_better_than_an_autoencoder(digits):
    x = digits.test.images.float() / 255
    noisy = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    errors = {}
    for family in ("ae", "dae"):
        model, _ = trained(digits, family=family, latent_dim=16)
        with torch.no_grad():
            errors[family] = (model.decode(model.encode(noisy).mean) - x).square().mean().item()
    assert errors["dae"] < 0.8 * errors["ae"]


def test_the_codes_of_a_wae_are_like_its_prior(digits):
    codes = {}
    for weight in (0, 200):
        model, _ = trained(digits, family="wae", latent_dim=4, mmd_weight=weight)
        with torch.no_grad():
            codes[weight] = model.encode(digits.train.images.float() / 255).mean
    z = torch.randn(len(codes[0]), 4, generator=torch.Generator().manual_seed(0))
    assert mmd(codes[200], z, 4) < 0.1 * mmd(codes[0], z, 4)
    assert codes[200].std(0).tolist() == pytest.approx([1] * 4, abs=0.25)
    assert FAMILIES["wae"].normal_prior
