"""The shared style of all figures: colours, markers, fonts, and panels in a grid.

A family has one colour and one marker in every figure, which its class declares. The colours are those of
Okabe & Ito and further ones that colour-blind readers (as simulated by Machado et al. 2009) can distinguish
from them; among VAEs a larger β is a darker shade. Figures are made without pyplot, which would keep them
in memory.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from latentbench.analysis.definitions import display_of
from latentbench.models.spec import ModelSpec

INK, FAINT = "#1f2328", "#6e7681"
SMALL, NORMAL, LARGE = 9, 10, 11
"""Font sizes in points; no text is smaller."""
LINE = 0.23
"""The height of an entry of a legend, in inches."""
DEEPEST = 4
"""The β, in powers of 4 from 1, beyond which a shade gets no darker or lighter."""

THEME = {
    **sns.axes_style("whitegrid"),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": NORMAL,
    "axes.titlesize": LARGE,
    "axes.titlelocation": "left",
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "text.color": INK,
    # Names are text: a "$" in one begins no formula.
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": "#8c959f",
    "axes.spines.top": False,
    "axes.spines.right": False,
    **{
        f"{axis}tick.{kind}.{what}": size
        for axis in "xy"
        for kind in ("major", "minor")
        for what, size in (("size", 0), ("pad", 5))
    },
    "grid.color": "#e4e7eb",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
}


@contextmanager
def theme() -> Iterator[None]:
    """Apply the theme while a figure is drawn and saved; then restore the caller's settings."""
    with matplotlib.rc_context(THEME), warnings.catch_warnings():
        # A name may be in a script that the font lacks: boxes are drawn in its place.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        yield


def family_colour(family: str) -> str:
    """Return the colour that a family declares."""
    return display_of(family).colour


def marker(spec: ModelSpec) -> str:
    """Return the marker that the family declares."""
    return display_of(spec.family).marker


def colour(spec: ModelSpec) -> str:
    """Return the family's colour, lighter for β below 1 and darker above."""
    return shade(family_colour(spec.family), spec.number("beta"))


def shade(base: str, beta: float | None) -> str:
    """Return `base` at β = 1 or no β; towards white below, towards black above, by the logarithm of β."""
    if beta is None or beta == 1:
        return base
    depth = max(-1.0, min(1.0, math.log(max(beta, 1e-9), 4) / DEEPEST))
    # The first step is large enough to be seen, then further ones follow.
    amount = 0.3 + 0.4 * abs(depth)
    return to_hex(
        sns.blend_palette([base, "white" if depth < 0 else "black"], n_colors=101)[round(100 * amount)]
    )


def colours_by_width(specs: Sequence[ModelSpec]) -> list[str]:
    """Return one colour per model: the family's, or its shades from narrow to wide if it appears often.

    Models of one width have shades from small to large β.
    """

    def place(spec: ModelSpec) -> tuple[int, float]:
        return spec.latent_dim, spec.number("beta") or 1.0

    colours = []
    for spec in specs:
        places = sorted({place(other) for other in specs if other.family == spec.family})
        shades = width_colours(spec, len(places)) if len(places) > 1 else [colour(spec)]
        colours.append(shades[places.index(place(spec))])
    return colours


def width_colours(spec: ModelSpec, count: int) -> list[str]:
    """Return `count` shades of the family's colour from light to dark, for widths from narrow to wide."""
    base = family_colour(spec.family)
    ends = [shade(base, 0), base, to_hex(sns.dark_palette(base, n_colors=4)[1])]
    return [to_hex(each) for each in sns.blend_palette(ends, n_colors=count)]


def class_colours(count: int) -> list[str]:
    """Return a colour for each class; colour-blind readers can distinguish the first ten."""
    palette = sns.color_palette("colorblind", 10) if count <= 10 else sns.husl_palette(count, l=0.55)
    return [to_hex(each) for each in palette[:count]]


def panels(count: int, *, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Create a figure of `count` panels of `width` × `height` inches, in at most `columns` columns."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    # Enough space that a title is never read as the label of the panel above.
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.08)
    fig = Figure(figsize=(columns * width, rows * height), layout=layout)
    grid = fig.subplots(rows, columns, squeeze=False).ravel()
    for unused in grid[count:]:
        unused.remove()
    return fig, list(grid[:count])


def width_axis(axes: Axes, widths: list[int]) -> None:
    """Put bottleneck widths on a log₂ axis, with one tick per width."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(set(widths)), [str(width) for width in sorted(set(widths))])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("bottleneck width (dimensions)")


def plain_numbers(axis: Axis) -> None:
    """Put plain numbers on a logarithmic axis: 1, 2, 3 and 5 of a decade, fewer if there are many decades."""

    def name(value: float, _: object) -> str:
        low, high = axis.get_view_interval()
        shown = "1" if high > 300 * low else "1235" if high > 4 * low else "123456789"
        if f"{value:e}"[0] not in shown:
            return ""
        return f"{value:,.0f}" if value >= 1 else f"{value:g}"

    axis.set_major_formatter(name)
    axis.set_minor_formatter(name)


def legend_height(entries: int) -> float:
    """Return the inches that a legend of one column takes next to a panel; at least the height of a panel."""
    return max(3.8, 0.6 + LINE * entries)


def legend_right(axes: Axes, *, in_free_cell: bool = False) -> None:
    """Put the legend to the right of the axes, where it covers nothing; use a free cell or make room."""
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    legend.set_in_layout(not in_free_cell)
