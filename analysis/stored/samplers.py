"""The samplers by name: sources of codes that are decoded into new images.

`analysis/generation/code_samplers.py` draws from them.
"""

from __future__ import annotations

from dataclasses import dataclass

SAMPLING, FLOW = "sampling", "flow"
"""The analyses that measure samples: of densities that are fitted in seconds, and of a learned flow."""


@dataclass(frozen=True)
class Sampler:
    """A named source of codes."""

    name: str
    title: str
    """A name for its decoded draws, as in "the Fréchet distance of …"."""
    of_data: bool = False
    """True if its codes are codes of images: an upper reference, which makes no new images."""
    analysis: str = SAMPLING
    """The analysis that measures its samples."""


SAMPLERS = {
    each.name: each
    for each in (
        Sampler("prior", "samples of the prior (N(0, I), or uniform over discrete codes)"),
        Sampler("moment", "samples of the Gaussian with the codes' mean and covariance"),
        Sampler("gmm10", "samples of a mixture of ten Gaussians fitted to the codes"),
        Sampler(FLOW, "samples of a learned flow of the codes", analysis=FLOW),
        Sampler("posterior", "posterior samples of train images", of_data=True),
    )
}
"""In the order of the tables."""


def samplers_of(analysis: str) -> tuple[str, ...]:
    """Return the names of the samplers whose samples an analysis measures."""
    return tuple(name for name, each in SAMPLERS.items() if each.analysis == analysis)
