"""Dead zones and overlap agree with densities whose gaps are known."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import DataContext, Subject
from latentbench.analysis.latent.dead_zones import (
    CLASS_AREA,
    GAPS,
    Gap,
    coverage,
    dead_zone_mass,
    exceedance,
    in_use,
    leak,
    overlap_coverage,
)
from latentbench.analysis.statistics.moments import moment_matched
from latentbench.bench.maintain.calibrate import KNOWN, SHRUNK, Line, shrunk_overlap, table
from latentbench.data.images import ImageData, Split
from latentbench.models.protocols import Posterior

SEEDS = range(5)


def gaussian(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def without_wedge(n, seed):
    """N(0, I) in the plane with a fifth of all directions cut out."""
    z = gaussian(4 * n, 2, seed)
    return z[torch.atan2(z[:, 1], z[:, 0]) > -math.pi + 0.2 * 2 * math.pi][:n]


def clusters(n, d, seed, spread=0.15):
    """Ten tight clusters on the unit sphere."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(10, d, generator=generator), dim=1)
    chosen = centres[torch.randint(10, (n,), generator=generator)]
    return chosen + spread * torch.randn(n, d, generator=generator)


def long_tailed_star(n, seed):
    """Five narrow rays from the centre, with a long tail: how the codes of an autoencoder look."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.randint(5, (n,), generator=generator) * (2 * math.pi / 5)
    angle = angle + 0.1 * torch.randn(n, generator=generator)
    radius = torch.randn(n, generator=generator).exp()
    return radius.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], dim=1)


def over_seeds(measure):
    return np.array([measure(seed).value for seed in SEEDS])


# Dead zones


@pytest.mark.parametrize("d", [2, 8, 32, 128, 256])
@pytest.mark.parametrize("measure", [dead_zone_mass, leak])
def test_no_gap_has_no_dead_zone(d, measure):
    found = over_seeds(lambda seed: measure(gaussian(8000, d, seed), gaussian(8000, d, seed + 50), seed=seed))
    assert np.abs(found).max() <= 0.02


def test_the_dead_zone_of_no_gap_is_unbiased_at_any_size():
    """Split-conformal holds exactly, not only for many codes."""
    found = [dead_zone_mass(gaussian(60, 3, i), gaussian(400, 3, i + 5000), seed=i).value for i in range(300)]
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(300)


def test_a_wedge_cut_out_is_found_whole():
    found = over_seeds(lambda seed: dead_zone_mass(without_wedge(8000, seed), gaussian(8000, 2, seed + 50)))
    assert np.mean(found) == pytest.approx(0.2, abs=0.03)


def test_shrinkage_has_no_dead_zone_under_the_moment_gaussian():
    def measure(seed):
        codes = 0.5 * gaussian(8000, 8, seed) + 3
        return dead_zone_mass(codes, moment_matched(codes, gaussian(8000, 8, seed + 50)), seed=seed)

    assert np.abs(over_seeds(measure)).max() <= 0.02


def test_gaps_between_clusters_are_dead():
    def measure(seed):
        codes = clusters(8000, 8, seed)
        return dead_zone_mass(codes, moment_matched(codes, gaussian(8000, 8, seed + 50)), seed=seed)

    assert over_seeds(measure).min() > 0.3


def test_a_long_tail_does_not_hide_the_gaps_of_a_star():
    def measure(seed):
        codes = long_tailed_star(8000, seed)
        return dead_zone_mass(codes, moment_matched(codes, gaussian(8000, 2, seed + 50)), seed=seed)

    assert over_seeds(measure).min() > 0.3


def test_leak_is_the_dead_zone_with_the_roles_swapped():
    """A fifth of q lies where p has nothing."""
    found = over_seeds(lambda seed: leak(gaussian(8000, 2, seed), without_wedge(8000, seed + 50)))
    assert np.mean(found) == pytest.approx(0.2, abs=0.03)


def test_codes_of_few_values_leave_everything_dead():
    codes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).repeat(300, 1)
    estimate = dead_zone_mass(codes, moment_matched(codes, gaussian(900, 2, 0)))
    assert estimate.value == 1
    assert estimate.se == 0


def test_standard_error_matches_the_spread():
    estimates = [
        dead_zone_mass(without_wedge(1000, i), gaussian(1000, 2, i + 5000), seed=i) for i in range(60)
    ]
    spread = np.std([estimate.value for estimate in estimates], ddof=1)
    assert 0.5 * spread < np.mean([estimate.se for estimate in estimates]) < 1.5 * spread


@given(n=st.integers(19, 60), seed=st.integers(0, 2**31), alpha=st.sampled_from([0.05, 0.2, 0.5]))
@settings(max_examples=50, deadline=None)
def test_laws_of_exceedance(n, seed, alpha):
    calibration = gaussian(n, 1, seed).squeeze(1)
    assert exceedance(calibration, torch.full((5,), 99.0), alpha).value == 1
    nothing = exceedance(calibration, torch.full((5,), -99.0), alpha).value
    assert nothing == pytest.approx(-alpha / (1 - alpha), abs=1.1 / n / (1 - alpha) ** 2)
    evaluation = gaussian(n, 1, seed + 1).squeeze(1)
    assert exceedance(calibration, evaluation, alpha) == exceedance(3 * calibration, 3 * evaluation, alpha)
    assert (
        exceedance(calibration, evaluation + 1, alpha).value
        >= exceedance(calibration, evaluation, alpha).value
    )


def test_too_few_codes_are_refused():
    with pytest.raises(ValueError, match="9 codes and 50 draws are too few for k = 5: each needs 10"):
        dead_zone_mass(gaussian(9, 2, 0), gaussian(50, 2, 1))
    with pytest.raises(ValueError, match="10 calibration values are too few"):
        dead_zone_mass(gaussian(20, 2, 0), gaussian(50, 2, 1))


def test_the_map_agrees_with_the_mass():
    gap = Gap.of(without_wedge(8000, 0), gaussian(8000, 2, 50))
    inside_wedge = torch.tensor([[-0.8, -0.5], [-1.0, -0.6]])
    assert gap.is_dead(inside_wedge).all()
    assert not gap.is_dead(torch.tensor([[0.8, 0.5], [1.0, -0.3], [0.5, 0.5]])).any()


# Overlap


@pytest.mark.parametrize("d", [2, 8, 32, 128, 256])
def test_no_gap_overlaps_wholly(d):
    found = over_seeds(
        lambda seed: overlap_coverage(gaussian(8000, d, seed), gaussian(8000, d, seed + 50), seed=seed)
    )
    assert np.mean(found) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("make", "d", "total_variation", "tolerance"),
    [
        (lambda seed: 0.9 * gaussian(8000, 2, seed), 2, 0.077, 0.02),
        (lambda seed: 0.9 * gaussian(8000, 32, seed), 32, 0.325, 0.06),
        (lambda seed: without_wedge(8000, seed), 2, 0.2, 0.04),
        (lambda seed: gaussian(8000, 8, seed) + 1 / math.sqrt(8), 8, 0.383, 0.03),
    ],
)
def test_known_gaps_are_found_and_not_overstated(make, d, total_variation, tolerance):
    found = 1 - over_seeds(lambda seed: overlap_coverage(make(seed), gaussian(8000, d, seed + 50), seed=seed))
    assert total_variation - tolerance <= np.mean(found) <= total_variation + 0.015


def test_overlap_hardly_changes_under_a_linear_map():
    shear = torch.tensor([[3.0, 1.0], [0.0, 0.01]])
    codes, draws = without_wedge(8000, 0), gaussian(8000, 2, 50)
    plain = overlap_coverage(codes, draws).value
    assert overlap_coverage(codes @ shear + 7, draws @ shear + 7).value == pytest.approx(plain, abs=0.02)


def test_overlap_of_what_is_apart_is_nothing():
    assert overlap_coverage(gaussian(400, 3, 0) + 20, gaussian(400, 3, 1)).value == pytest.approx(0, abs=0.01)


def test_overlap_ignores_directions_without_variance():
    pad = torch.nn.functional.pad
    estimate = overlap_coverage(pad(gaussian(2000, 2, 0), (0, 1)), pad(gaussian(2000, 2, 1), (0, 1)))
    assert estimate.value == pytest.approx(1, abs=0.06)


def test_overlap_repeats_and_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, second = (overlap_coverage(gaussian(200, 2, 0), gaussian(200, 2, 1), seed=3) for _ in range(2))
    assert first == second
    assert torch.equal(torch.random.get_rng_state(), before)


def test_overlap_of_nothing_is_refused():
    with pytest.raises(ValueError, match="got 1 and 5"):
        overlap_coverage(gaussian(1, 2, 0), gaussian(5, 2, 1))


# The analysis


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


def test_dimensions_in_use():
    mean = torch.tensor([[0.0, 1.0, 5.0], [0.1, 1.0, -5.0]])
    assert in_use(Posterior(mean)).tolist() == [True, False, True]
    assert in_use(Posterior(mean, torch.zeros(2, 3))).tolist() == [False, False, True]


def test_analysis_of_a_vae(vae):
    measurement = coverage(vae)
    found = by_name(measurement)
    assert list(found) == [definition.name for definition in ANALYSES["coverage"].metrics]
    assert all(found[gap.name].value is not None and found[gap.name].se > 0 for gap in GAPS)
    assert {found[area.name].reason for area in CLASS_AREA} == {"the code has not two dimensions"}
    assert 1 < found["intrinsic_dimension"].value < 5
    assert 0 < found["overlap_prior"].value < 1
    assert measurement.arrays == {}
    assert coverage(vae).metrics == measurement.metrics


def test_analysis_of_an_autoencoder_with_a_plane(ae):
    measurement = coverage(ae)
    found = by_name(measurement)
    for name in ("dead_zone_prior", "overlap_prior"):
        assert (found[name].value, found[name].reason) == (None, "a deterministic code has no prior")
    assert found["dead_zone_moment"].value is not None
    shapes = {name: array.shape for name, array in measurement.arrays.items()}
    assert shapes == {
        "codes": (3000, 2),
        "labels": (3000,),
        "plane_extent": (4,),
        "plane_dead": (100, 100),
        "plane_images": (1, 560, 560),
        "plane_class": (100, 100),
        "class_area": (10,),
    }
    assert measurement.arrays["class_area"].sum() == pytest.approx(1)


def test_a_deterministic_code_with_a_prior_is_held_against_it(subject_of, ae):
    """A Wasserstein autoencoder's codes have no spread, and are drawn to N(0, I) all the same."""
    found = by_name(coverage(subject_of("wae", 2, hidden=64)))
    assert all(metric.value is not None for metric in found.values())
    # Nobody asked an autoencoder's codes to be there: told that they were to, it is far off.
    far = Subject(ae.model, ae.context, seed=0)
    far.model = NormalPrior(ae.model)
    assert found["overlap_prior"].value > by_name(coverage(far))["overlap_prior"].value + 0.1


class NormalPrior:
    """A model that claims its codes to follow N(0, I)."""

    normal_prior = True

    def __init__(self, model):
        self.encode, self.decode = model.encode, model.decode


class Encoder:
    """Unit vectors for codes, and no decoder."""

    def __init__(self, outputs):
        self.outputs = outputs

    def encode_image(self, x):
        return torch.nn.functional.normalize(x.flatten(1)[:, 200 : 200 + self.outputs] + 1, dim=1)

    def encode_text(self, captions):
        raise NotImplementedError


def test_codes_on_the_unit_sphere_are_measured(context):
    found = by_name(coverage(Subject(Encoder(16), context, seed=0)))
    assert found["dead_zone_moment"].value > 0.1
    assert 0 <= found["overlap_moment"].value < 0.9


def test_constant_codes_have_no_coverage(context):
    metrics = coverage(Subject(Encoder(1), context, seed=0)).metrics
    assert {metric.reason for metric in metrics} == {"no dimension of the code is in use"}


def test_a_diverged_encoder_is_null(context):
    class Diverged(Encoder):
        def encode_image(self, x):
            return super().encode_image(x) * torch.nan

    metrics = coverage(Subject(Diverged(4), context, seed=0)).metrics
    assert {metric.reason for metric in metrics} == {"codes hold values that are not finite"}


def test_few_images_are_null(pca, mnist_small):
    few = Split(mnist_small.train.images[:99], mnist_small.train.labels[:99])
    data = ImageData("few", few, mnist_small.test, mnist_small.classes)
    metrics = coverage(Subject(pca.model, DataContext(data, None), seed=0)).metrics
    assert {metric.reason for metric in metrics} == {"fewer than 100 train images"}


# The table of known answers


def test_the_shrunk_overlap_is_the_integral():
    """∫ min(p, q) of N(0, 1) and N(0, 0.9²) by quadrature."""
    z = np.linspace(-12, 12, 400_001)
    densities = norm.pdf(z), norm.pdf(z, scale=SHRUNK)
    assert shrunk_overlap(1) == pytest.approx(np.minimum(*densities).sum() * (z[1] - z[0]), abs=1e-6)
    assert 1 - shrunk_overlap(2) == pytest.approx(0.077, abs=5e-4)
    assert 1 - shrunk_overlap(32) == pytest.approx(0.325, abs=5e-4)


def test_the_table_says_what_is_true_and_what_was_measured():
    line = Line(KNOWN[-1], 2, (0.18, 0.2, 0.22), (0.8, 0.81, 0.82))
    assert "| 2 | 0.200 | 0.200 (0.180 to 0.220) | 0.800 | 0.810 (0.800 to 0.820) |" in table(iter([line]))


def test_the_documented_table_has_every_known_case():
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    text = text.partition("<!-- begin calibration -->")[2]
    assert [
        line.split(" | ")[:2] for line in text.splitlines() if " to " in line and line.startswith("| ")
    ] == [[f"| {known.name}", str(d)] for known in KNOWN for d in known.dimensions]
