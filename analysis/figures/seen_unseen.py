"""What was learned of each caption against what carries over to captions that were not."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from latentbench.analysis.figures import style
from latentbench.analysis.figures.lines import by_series, draw_line, points
from latentbench.analysis.figures.naming import name_points
from latentbench.analysis.figures.registry import Pictured, figure

SEEN, UNSEEN = "zero_shot_seen", "zero_shot_top1"


@figure(
    "seen_unseen",
    title="Seen against unseen captions",
    caption="Accuracy among all 90 captions, on test images of captions that were trained on and of captions "
    "that never were, a line for each family and β, each point named by its width, with 95 % intervals. On "
    "the dashed line a combination never met is named as well as one that was.",
)
def draw(models: Sequence[Pictured]) -> Figure | None:
    """One panel, up and to the right is better."""
    series = {name: points(group, SEEN, UNSEEN) for name, group in by_series(models).items()}
    series = {name: line for name, line in series.items() if line}
    if not series:
        return None
    picture = Figure(figsize=(8.0, 5.4), layout="constrained")
    axes = picture.subplots()
    for name, line in series.items():
        draw_line(axes, line, label=name)
    axes.margins(0.08)
    low = max(0.0, min(axes.get_xlim()[0], axes.get_ylim()[0]))
    axes.axline((0, 0), slope=1, color=style.FAINT, linestyle="--", linewidth=1.2)
    axes.set(xlim=(low, 1), ylim=(low, 1), xlabel="accuracy on seen captions")
    axes.set_ylabel("accuracy on unseen captions")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:.0%}")
    style.legend_beside(axes)
    shown = [point for line in series.values() for point in line]
    name_points(
        axes,
        [(seen.value, unseen.value) for _, seen, unseen in shown],
        [str(spec.latent_dim) for spec, _, _ in shown],
        [style.colour(spec) for spec, _, _ in shown],
    )
    return picture
