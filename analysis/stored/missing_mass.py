"""The arrays of what samples miss, by name, and the properties of images by which it is shown."""

from __future__ import annotations

from latentbench.analysis.stored.samplers import FLOW

SAMPLED = ("prior", "moment")
ANALYSIS_OF = {**dict.fromkeys(SAMPLED, "missing_mass"), FLOW: "missing_mass_flow"}
"""The analysis that measures what a sampler misses, by sampler: only one of them trains a flow."""
QUARTERS = 4
ATTRIBUTES = ("brightness", "contrast", "detail")
"""Properties of any image: mean and standard deviation of its pixels, and of differences of neighbours."""


def array_name(what: str, sampler: str) -> str:
    """Return the name under which a record has an array of a sampler: `classes`, `examples` and so on."""
    return f"{ANALYSIS_OF[sampler]}/{what}_{sampler}"
