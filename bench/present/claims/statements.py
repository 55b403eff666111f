"""The statements, each as contrasts of metrics, and the other readings that could decide a statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from latentbench.analysis.rate.kl_curve import SPIKE
from latentbench.analysis.stored.equal_flops import BUDGETS, LABEL_FREE_SPACES, metric_at

NO_GAP = 0.02
"""The largest dead-zone mass beyond its null that codes without holes have in two dimensions, rounded up.

The calibration table in docs/metrics.md has the values by kind of code.
"""


@dataclass(frozen=True)
class Term:
    """A metric of the model with this label."""

    model: str
    metric: str

    def __str__(self) -> str:
        return f"{self.metric} of {self.model}"


@dataclass(frozen=True)
class Contrast:
    """A term, less another one where there is one."""

    term: Term
    minus: Term | None = None

    @property
    def terms(self) -> tuple[Term, ...]:
        """One or two terms."""
        return (self.term,) if self.minus is None else (self.term, self.minus)

    @property
    def models(self) -> str:
        """The models in words."""
        return self.term.model if self.minus is None else f"{self.term.model}, less {self.minus.model}"


@dataclass(frozen=True)
class Claim:
    """The statement that every contrast is more than `bound`: one contrast, or every step of a trend."""

    statement: str
    effect: str
    """The measured quantity, in words."""
    contrasts: tuple[Contrast, ...]
    bound: float = 0.0

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of all contrasts."""
        return tuple(term for contrast in self.contrasts for term in contrast.terms)

    def read_by(self, variant: Variant) -> Claim | None:
        """Return the claim with other metrics; None if the variant has none for it."""
        if all(variant.other(term) == term for term in self.terms):
            return None
        contrasts = (
            Contrast(variant.other(each.term), each.minus and variant.other(each.minus))
            for each in self.contrasts
        )
        return replace(self, contrasts=tuple(contrasts))


@dataclass(frozen=True)
class Variant:
    """Another reading of the same question: `other` gives a term's metric in it, or the term itself."""

    choice: str
    """The choice that it varies, such as the feature space."""
    name: str
    other: Callable[[Term], Term]


def _in_space(space: str) -> Callable[[Term], Term]:
    """A Fréchet distance in the judges' features, or in another space, as one in `space`."""

    def other(term: Term) -> Term:
        if not term.metric.startswith("frechet_"):
            return term
        return replace(term, metric=f"{without_space(term.metric)}_{space}")

    return other


def without_space(metric: str) -> str:
    """Return the name of the same distance in the judges' features.

    >>> without_space("frechet_prior_pixels"), without_space("frechet_prior")
    ('frechet_prior', 'frechet_prior')
    """
    for space in LABEL_FREE_SPACES:
        metric = metric.removesuffix(f"_{space}")
    return metric


def _without_noise(term: Term) -> Term:
    """The dead zone of a VAE's posterior means; codes of a plain autoencoder have no noise."""
    noisy = term.metric == "dead_zone_moment" and term.model.startswith("vae")
    return replace(term, metric="dead_zone_means") if noisy else term


FEATURE_SPACE, NOISE = "feature space", "noise of the codes"
VARIANTS = (
    *(Variant(FEATURE_SPACE, f"in features of: {space}", _in_space(space)) for space in LABEL_FREE_SPACES),
    Variant(NOISE, "by posterior means", _without_noise),
)


def one(metric: str, model: str, minus: str | None = None, *, of_other: str | None = None) -> tuple[Contrast]:
    """Return a single contrast; `of_other` is the metric of the model `minus`, if it is another one."""
    other = Term(minus or model, of_other or metric) if minus or of_other else None
    return (Contrast(Term(model, metric), other),)


def rising(metric: str, *models: str) -> tuple[Contrast, ...]:
    """Return the steps of a metric that rises from each model to the next."""
    return tuple(Contrast(Term(b, metric), Term(a, metric)) for a, b in pairwise(models))


AE_BY_WIDTH = ("ae-2", "ae-8", "ae-16", "ae-32")
VAE_BY_BETA = ("vae-16 β=0.02", "vae-16 β=0.25", "vae-16 β=1", "vae-16 β=4")

CLAIMS = (
    Claim(
        "Sixteen numbers are enough: they cost at most two points of recognition.",
        "accuracy of a classifier on images rebuilt by ae-16, less that on the originals; beyond −0.02",
        one("recognisable", "ae-16", of_other="recognisable_originals"),
        bound=-0.02,
    ),
    Claim(
        "The latent space of a plain autoencoder has gaps.",
        f"dead-zone mass of ae-2 in excess of that of codes without holes; beyond {NO_GAP}",
        one("dead_zone_moment", "ae-2"),
        bound=NO_GAP,
    ),
    Claim(
        "The latent space of a plain autoencoder has more gaps than that of a VAE.",
        "dead-zone mass of ae-2, less that of vae-2 β=1",
        one("dead_zone_moment", "ae-2", "vae-2 β=1"),
    ),
    Claim(
        "Random codes of a plain autoencoder decode to worse images than codes of images do.",
        "precision of ae-16 with codes of images, less that with draws of the Gaussian with the moments of "
        "the codes",
        one("functional_dead_zone_moment", "ae-16"),
    ),
    Claim(
        "A plain autoencoder cannot generate, even from a mixture fitted to its codes.",
        "Fréchet distance of ae-16 with a mixture fitted to its codes, less that of vae-16 β=1 with its "
        "prior",
        one("frechet_gmm10", "ae-16", "vae-16 β=1", of_other="frechet_prior"),
    ),
    Claim(
        "A VAE reconstructs worse than an autoencoder of the same width.",
        "MSE of vae-16 β=1, less that of ae-16",
        one("mse", "vae-16 β=1", "ae-16"),
    ),
    Claim(
        "A VAE has a space to sample from: its prior gives better samples than a Gaussian fitted to the "
        "codes of a plain autoencoder.",
        "Fréchet distance of ae-16 with the Gaussian with the moments of its codes, less that of vae-16 β=1 "
        "with its prior",
        one("frechet_moment", "ae-16", "vae-16 β=1", of_other="frechet_prior"),
    ),
    Claim(
        "The larger β, the worse the reconstruction.",
        "MSE of vae-16, less that at the next smaller of β = 0.02, 0.25, 1, 4: the smallest step",
        rising("mse", *VAE_BY_BETA),
    ),
    Claim(
        "A small β gives better samples than almost none.",
        "Fréchet distance of samples of the prior from vae-16 at β = 0.02, less that at β = 0.25",
        one("frechet_prior", "vae-16 β=0.02", "vae-16 β=0.25"),
    ),
    Claim(
        "The larger β, the better the samples.",
        "Fréchet distance of samples of the prior from vae-16, less that at the next larger of β = 0.02, "
        "0.25, 1, 4: the smallest step",
        rising("frechet_prior", *reversed(VAE_BY_BETA)),
    ),
    Claim(
        "The KL starts low, has a peak, and settles.",
        f"peak of the KL over its settled value, vae-16 β=1; beyond {SPIKE:g}",
        one("kl_spike", "vae-16 β=1"),
        bound=SPIKE,
    ),
    Claim(
        "The narrower the bottleneck, the worse zero-shot classification.",
        "zero-shot accuracy from the codes of an autoencoder, less that at the next smaller of the widths "
        "2, 8, 16, 32: the smallest step",
        rising("zero_shot_top1", *AE_BY_WIDTH),
    ),
)

PIXELS, PHOTO_PIXELS = "identity-1×28×28", "identity-3×64×64"
PHOTO_BUDGETS = BUDGETS[-2:]
"""Those that pay for a step of sampling the pixels of a photograph of 64 px."""
UNTRAINED = LABEL_FREE_SPACES[1]


def _at_equal_cost(pixels: str, code: str, budgets: Sequence[int], space: str | None) -> tuple[Contrast, ...]:
    """Return, for each budget, the distance of a flow of the pixels less that of the same flow of a code."""
    metrics = [metric_at(budget, space) for budget in budgets]
    return tuple(Contrast(Term(pixels, metric), Term(code, metric)) for metric in metrics)


OPTIONAL_CLAIMS = (
    Claim(
        "At equal cost, generation in codes is better than generation in pixels.",
        "Fréchet distance of samples of a flow of the pixels, less that of the same flow of the codes of "
        "ae-16 with equal operations, at each of the budgets: the smallest step",
        _at_equal_cost(PIXELS, "ae-16", BUDGETS, None),
    ),
    Claim(
        "At equal cost, photographs of 64 px are generated better in codes than in pixels.",
        "Fréchet distance of samples of a flow of the pixels, less that of the same flow of the codes of "
        "ae-64 conv with equal operations, at each of the two largest budgets, in the features of an "
        "untrained network: the smallest step",
        _at_equal_cost(PHOTO_PIXELS, "ae-64 conv", PHOTO_BUDGETS, UNTRAINED),
    ),
    Claim(
        "A plain autoencoder with a learned generator gives better samples than a VAE with its prior.",
        "Fréchet distance of samples of the prior from vae-16 β=1, less that of samples of a flow of the "
        "codes of ae-16",
        one("frechet_prior", "vae-16 β=1", "ae-16", of_other="frechet_flow"),
    ),
)
"""Claims of opt-in analyses: left out where a run does not measure them."""
