"""Class histograms, diversity and memorisation of samples agree with closed forms and with vendi-score."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared.gaussians import gaussian
from vendi_score import vendi

from latentbench.analysis.fidelity.generative_metrics import (
    authenticity,
    class_histogram_kl,
    class_kl_standard_error,
    vendi_score,
)

# Class histograms


def test_class_histogram_kl_by_hand():
    real = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    assert class_histogram_kl(torch.tensor([0, 1, 2, 3]), real, 4) == 0
    assert class_histogram_kl(torch.tensor([2, 2, 2]), real, 4) == pytest.approx(math.log(4))
    assert class_histogram_kl(torch.tensor([0, 1]), real, 4) == pytest.approx(math.log(2))
    assert class_histogram_kl(torch.tensor([4]), real, 5) == math.inf
    assert class_kl_standard_error(torch.tensor([4]), real, 5) is None
    with pytest.raises(ValueError, match="labels must be 0 to 3, got 4 to 4"):
        class_histogram_kl(torch.tensor([4]), real, 4)
    with pytest.raises(ValueError, match="at least one label"):
        class_histogram_kl(torch.tensor([], dtype=torch.int64), real, 4)


def test_class_kl_standard_error_matches_the_spread_over_sets(draws):
    real = torch.arange(5).repeat(100)
    skewed = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.1])
    sets = [torch.multinomial(skewed, 2000, replacement=True, generator=draws) for _ in range(300)]
    spread = np.std([class_histogram_kl(labels, real, 5) for labels in sets], ddof=1)
    assert np.mean([class_kl_standard_error(labels, real, 5) for labels in sets]) == pytest.approx(
        spread, rel=0.15
    )


# Diversity and memorisation


@given(
    n=st.integers(1, 40),
    d=st.integers(1, 30),
    seed=st.integers(0, 2**31),
    offset=st.sampled_from([0.0, 5.0]),
    copies=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_vendi_score_is_the_packages(n, d, seed, offset, copies):
    features = (gaussian(n, d, seed=seed) + offset).repeat(copies, 1)
    expected = vendi.score_dual(features.numpy(), normalize=True)
    assert vendi_score(features) == pytest.approx(expected, rel=1e-6)


def test_vendi_score_counts_directions():
    basis = torch.eye(5, dtype=torch.float64)
    assert vendi_score(basis) == pytest.approx(5)
    assert vendi_score(basis.repeat(3, 1) * 7) == pytest.approx(5)
    assert vendi_score(basis[:1].repeat(9, 1)) == pytest.approx(1)
    with pytest.raises(ValueError, match="length 0"):
        vendi_score(torch.zeros(3, 2))


def test_authenticity_by_hand():
    """The nearest others of the real points 0, 1, 5 are 1, 1 and 4 away."""
    real = torch.tensor([[0.0], [1.0], [5.0]])
    fake = torch.tensor([[0.0], [0.4], [2.5], [-1.5], [8.0], [9.5]])
    assert authenticity(real, fake).tolist() == [False, False, True, True, False, True]
    with pytest.raises(ValueError, match="at least 2 points"):
        authenticity(real[:1], fake)


def test_copies_are_not_authentic_and_half_of_new_points_are():
    real, fresh = gaussian(4000, 8), gaussian(4000, 8, seed=1)
    assert not authenticity(real, real[:500]).any()
    assert 0.5 < authenticity(real, fresh).double().mean().item() < 0.65
