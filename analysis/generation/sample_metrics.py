"""The metrics of a model's samples, one of each kind for each sampler, and those of real images."""

from __future__ import annotations

from dataclasses import dataclass

from latentbench.analysis.core.metric import Better, MetricDefinition, define
from latentbench.analysis.fidelity.generative_metrics import DENSITY_K, MANIFOLD_K
from latentbench.analysis.stored.samplers import SAMPLERS, samplers_of

POSTERIOR = "posterior"
"""The sampler that the others are compared with: codes of train images."""


@dataclass(frozen=True)
class Kind:
    """A measure of samples; `title` has a placeholder for the kind of samples."""

    name: str
    unit: str
    better: Better
    title: str
    heading: str
    decimals: int = 3
    headline_of: tuple[str, ...] = ()
    """Samplers for which the terminal's table shows it."""
    version: int = 2
    fooled_by_collapse: bool = False
    """True if it is high also where all samples are one image that lies among the real ones."""

    def define(self, sampler: str) -> MetricDefinition:
        """Define the metric of one sampler."""
        return define(
            f"{self.name}_{sampler}",
            unit=self.unit,
            better=self.better,
            title=self.title.format(SAMPLERS[sampler].title),
            heading=f"{self.heading} {sampler}",
            decimals=self.decimals,
            headline=sampler in self.headline_of,
            version=self.version,
        )


KINDS = (
    Kind(
        "frechet",
        "",
        "lower",
        "Fréchet distance of {} to the test images, in the judges' features.",
        "Fréchet",
        decimals=1,
        headline_of=("prior", "moment"),
    ),
    Kind(
        "kernel",
        "",
        "lower",
        "Kernel distance (cubic MMD², unbiased) of {} to the test images, in the judges' features.",
        "kernel",
    ),
    Kind(
        "precision",
        "fraction",
        "higher",
        f"Precision: share of {{}} that lie near test images (k = {MANIFOLD_K}).",
        "precision",
        headline_of=("moment",),
        version=2,
        fooled_by_collapse=True,
    ),
    Kind(
        "recall",
        "fraction",
        "higher",
        f"Recall: share of test images that lie near {{}} (k = {MANIFOLD_K}).",
        "recall",
    ),
    Kind(
        "density",
        "",
        "higher",
        f"Density of test images around {{}} (k = {DENSITY_K}); about 1 for real images.",
        "density",
        version=2,
        fooled_by_collapse=True,
    ),
    Kind(
        "coverage",
        "fraction",
        "higher",
        f"Coverage: share of test images with {{}} nearby (k = {DENSITY_K}).",
        "coverage",
    ),
    Kind(
        "class_kl",
        "nats",
        "lower",
        "KL divergence of the judges' classes of {} from those of the test images.",
        "class KL",
    ),
    Kind(
        "vendi",
        "",
        "neither",
        "Vendi score of {}: their effective number in the judges' features.",
        "Vendi",
        decimals=2,
    ),
    Kind(
        "authenticity",
        "fraction",
        "neither",
        "Share of {} farther from the nearest train image than that image is from its "
        "own nearest; a diagnostic of memorisation, 0 for copies.",
        "authenticity",
    ),
)
OF_SAMPLES = {sampler: {kind.name: kind.define(sampler) for kind in KINDS} for sampler in SAMPLERS}
FUNCTIONAL_DEAD_ZONE = {
    name: define(
        f"functional_dead_zone_{name}",
        unit="fraction",
        better="lower",
        title=f"Precision of {SAMPLERS[POSTERIOR].title} minus that of {sampler.title}: "
        "the cost of gaps in the codes. Null where the samples have collapsed.",
        heading=f"functional dead zone {name}",
        version=2,
    )
    for name, sampler in SAMPLERS.items()
    if not sampler.of_data
}
FRECHET_FLOOR = define(
    "frechet_floor",
    unit="",
    better="neither",
    title="Fréchet distance of as many train images to the test images: the value of perfect samples.",
    heading="Fréchet floor",
    version=2,
    decimals=2,
)
KERNEL_FLOOR = define(
    "kernel_floor",
    unit="",
    better="neither",
    title="Kernel distance of as many train images to the test images; 0 in expectation.",
    heading="kernel floor",
    version=2,
)
VENDI_TEST = define(
    "vendi_test",
    unit="",
    better="neither",
    title="Vendi score of the test images.",
    heading="Vendi test",
    version=2,
    decimals=2,
)


def definitions_of(analysis: str) -> list[MetricDefinition]:
    """Return the metrics of the samplers of an analysis: every measure, then the functional dead zones."""
    names = samplers_of(analysis)
    every = [metric for name in names for metric in OF_SAMPLES[name].values()]
    return [*every, *(FUNCTIONAL_DEAD_ZONE[name] for name in names if name in FUNCTIONAL_DEAD_ZONE)]
