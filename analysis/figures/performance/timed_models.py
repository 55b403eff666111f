"""Rows of a sweep as lines: one model doing one operation, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import seaborn as sns

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.models.spec import REFERENCE, ModelSpec

PLAIN_WAYS = ("fp32", "bf16")
"""Only the default layout without compilation: further lines would hide each other."""
MARKERS = "oPsXv^p<d>H"


def by_model_and_operation(
    models: Sequence[ModelResult],
) -> dict[tuple[ModelSpec, str, str], list[ModelResult]]:
    """Group rows with a number by model, operation and way, smallest batch first."""
    groups: dict[tuple[ModelSpec, str, str], list[ModelResult]] = {}
    for model in models:
        point = model.point
        if point is not None and point.way in PLAIN_WAYS and model.value("examples_per_second"):
            groups.setdefault((model.spec, point.operation, point.way), []).append(model)
    return {
        key: sorted(group, key=lambda model: model.point.batch if model.point else 0)
        for key, group in groups.items()
    }


def looks(specs: Sequence[ModelSpec]) -> dict[str, tuple[str, str]]:
    """Return the colour and marker of each model, by label.

    Families have their own colours, and further markers where a family appears more than once; every
    reference model has its own colour.
    """
    deployed = list(dict.fromkeys(spec.label for spec in specs if spec.family == REFERENCE))
    colours = dict(zip(deployed, sns.husl_palette(max(len(deployed), 1), l=0.5).as_hex(), strict=False))
    look: dict[str, tuple[str, str]] = {}
    for spec in specs:
        colour, markers = colours.get(spec.label, style.colour(spec)), [style.marker(spec), *MARKERS]
        free = [marker for marker in markers if (colour, marker) not in look.values()]
        look.setdefault(spec.label, (colour, free[0] if free else markers[0]))
    return look
