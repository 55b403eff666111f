"""Examples on both sides of the gap: images that a sampler misses, and the samples nearest to them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult, figure
from latentbench.analysis.figures.drawing.seeds import by_model
from latentbench.analysis.figures.drawing.tiles import show, tile
from latentbench.analysis.stored.missing_mass import ANALYSIS_OF, array_name


@figure(
    "missing_examples",
    title="Both sides of the gap",
    caption="Clusters of decoded test images that no sample comes near, the largest first; one row per "
    "cluster. Left the test images that are typical of it, in the middle what the model makes of their "
    "codes, right the samples that are nearest to them: the two sides of the gap. The row names each "
    "cluster's share of all test images and its commonest class.",
)
def draw(models: Sequence[ModelResult]) -> Figure | None:
    """Draw one panel for each model and sampler."""
    shown = [
        (group[0], name)
        for group in by_model(models)
        for name in ANALYSIS_OF
        if array_name("examples", name) in group[0].arrays
    ]
    if not shown:
        return None
    fig, grid = style.panels(len(shown), columns=2, width=6.4, height=2.9)
    for axes, (model, sampler) in zip(grid, shown, strict=True):
        _panel(axes, model, sampler)
    return fig


def _panel(axes: Axes, model: ModelResult, sampler: str) -> None:
    examples, clusters = (model.arrays[array_name(what, sampler)] for what in ("examples", "clusters"))
    _, sides, count = examples.shape[:3]
    show(axes, tile(examples.reshape(-1, *examples.shape[3:]), columns=sides * count))
    missing = model.value(f"missing_mass_{sampler}")
    share = "" if missing is None else f": {missing:.0%} missing"
    axes.set_title(f"{model.label}, {sampler}{share}\nmissing image · its reconstruction · nearest sample")
    step = axes.get_ylim()[0] / len(clusters)
    names = [f"{of_all:.1%}" + (f", class {int(each)}" if each >= 0 else "") for of_all, each in clusters]
    axes.set_yticks([(row + 0.5) * step for row in range(len(clusters))], names)
