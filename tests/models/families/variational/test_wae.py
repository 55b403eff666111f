"""The maximum mean discrepancy agrees with a double loop, and draws the codes to the prior."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared.families import images, small, step_for, summed_squares, trained, values

from latentbench.data.errors import LatentbenchError
from latentbench.models.families.variational.wae import squared_mmd
from latentbench.models.zoo import FAMILIES


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
    model, x = small(family="wae", latent_dim=3, mmd_weight=5.0), images()
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
        small(family="wae", latent_dim=3).draws(1)


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
