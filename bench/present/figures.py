"""The figures of a run, drawn from its records and the arrays stored with them.

results/figures/<suite>/<name>.png      one for each registered figure that the run has data for; those of
                                        several data sets are in a folder for each
results/figures/<suite>/figures.json    the run that the figures show; written last
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import fmean

import matplotlib.figure
from matplotlib.axes import Axes
from PIL import Image, ImageChops, ImageStat

from latentbench.analysis.definitions import definition_of
from latentbench.analysis.figures.catalogue import FIGURES
from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.bench.present import tables
from latentbench.bench.present.history import HistoryPoint, Series
from latentbench.bench.present.rows import models_of
from latentbench.bench.provenance.code import code, drawing_code
from latentbench.bench.store.records.data_sets import by_data
from latentbench.bench.store.records.line import MEASURE_AGAIN
from latentbench.bench.store.records.record import Record, numbered
from latentbench.bench.store.run import Run, arrays_path
from latentbench.bench.store.store import Store
from latentbench.bench.text import escaping
from latentbench.data.errors import LatentbenchError

DOTS_PER_INCH = 130
MOST_MODELS = 48
"""Models that can be told apart in one figure."""
MOST_PANELS = 24
"""The number of series for which a figure of a history has room."""
LARGEST_BYTES = 500_000
PALETTES = (256, 64, 32)
"""Numbers of colours, tried in turn until the file is no larger than `LARGEST_BYTES`."""
UNSEEN = 0.5
"""The mean difference, in levels of 256, that the largest palette may make. Curves and digits have none, and
photographs, whose skies would show steps, one of 2 to 4."""
MANIFEST = "figures.json"
LONGEST_LABEL = 60
"""The longest name of a model in a figure; a longer one would leave no room for the figure."""


@dataclass(frozen=True)
class DrawnFigure:
    """A figure of a run on disk. `data` is its data set where the run has several, else empty."""

    figure: str
    data: str
    path: Path


def model_results(run: Run, records: Sequence[Record]) -> list[ModelResult]:
    """Return what figures show of records of one data set; arrays are read when a figure needs them."""
    return [
        ModelResult(
            label,
            record.model,
            record.seed,
            {metric.name: metric for metric in record.metrics},
            run.arrays(record),
            record.point,
        )
        for label, records in _shown(models_of(records))
        for record in records
    ]


def _data_sets(run: Run) -> dict[str, Sequence[Record]]:
    """Return the records that figures show together: of each data set, by its name; empty for a single one.

    A sweep has noise of several shapes, which its figures compare.
    """
    found = {} if run.is_sweep else by_data(run.last_records)
    return {**found} if len(found) > 1 else {"": run.last_records}


Models = list[tuple[str, tuple[Record, ...]]]


def _shown(models: Models) -> Models:
    """Return all models, or `MOST_MODELS` that are spread evenly; points of a sweep do not count apart."""
    settings = [records[0].model.model_dump_json() for _, records in models]
    distinct = list(dict.fromkeys(settings))
    chosen = set(distinct)
    if len(distinct) > MOST_MODELS:
        step = (len(distinct) - 1) / (MOST_MODELS - 1)
        chosen = {distinct[round(step * index)] for index in range(MOST_MODELS)}
    labels = _short_labels([label for label, _ in models])
    every = zip(labels, models, settings, strict=True)
    return [(label, records) for label, (_, records), each in every if each in chosen]


def _short_labels(labels: Sequence[str]) -> list[str]:
    """Return the labels as one line each, long ones shortened in the middle and still different."""
    return numbered(escaping.shortened(label, LONGEST_LABEL) for label in map(escaping.printable, labels))


def gaps(run: Run) -> list[str]:
    """Return a line for each way in which the figures do not show all of a run."""
    lines = []
    shown: Models = []
    for data, records in _data_sets(run).items():
        models = models_of(records)
        some = _shown(models)
        shown += some
        if len(some) < len(models):
            lines.append(
                f"the figures{f' of {data}' if data else ''} show {len(some):,} of the {len(models):,} rows, "
                "spread evenly over the table: more could not be told apart"
            )
    drawable = [record for _, group in shown for record in group]
    lacking = [record for record in drawable if record.arrays and not run.arrays(record)]
    if lacking:
        lines.append(
            f"the figures lack {len(lacking):,} of {len(drawable):,} cases, such as {lacking[0].name}: its "
            f"arrays, {arrays_path(run.path, lacking[0].case)}, are gone or were changed; {MEASURE_AGAIN}"
        )
    return lines


def draw_all(run: Run, store: Store) -> list[DrawnFigure]:
    """Draw every figure, for each data set. Raises LatentbenchError if there is nothing to draw."""
    figures = _draw(run, store)
    if not figures:
        raise LatentbenchError(f"{run.stem}: nothing to draw: no figure can be made of its results")
    return figures


def drawn(run: Run, store: Store) -> list[DrawnFigure]:
    """Return the figures of a run, drawn only if those on disk are another run's; empty if there are none."""
    try:
        manifest = json.loads((figures_folder(run, store) / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or {**manifest, **_stamp(run)} != manifest:
        return _draw(run, store)
    listed = manifest.get("figures")
    found = [each for each in _possible(run, store) if [each.figure, each.data] in (listed or [])]
    whole = isinstance(listed, list) and len(found) == len(listed)
    return found if whole and all(each.path.is_file() for each in found) else _draw(run, store)


def _possible(run: Run, store: Store) -> Iterator[DrawnFigure]:
    """Yield every figure that a run may have: those of a data set are in its folder, if there are several."""
    for data in _data_sets(run):
        folder = figures_folder(run, store) / (escaping.file_name(data) if data else "")
        for name in FIGURES:
            yield DrawnFigure(name, data, folder / f"{name}.png")


def _draw(run: Run, store: Store) -> list[DrawnFigure]:
    models = {data: model_results(run, records) for data, records in _data_sets(run).items()}
    folder = figures_folder(run, store)
    figures = []
    try:
        # Until the new manifest is written, the figures in the folder belong to no run.
        (folder / MANIFEST).unlink(missing_ok=True)
        # A figure of an earlier run must not be mistaken for one of this run.
        for old in folder.rglob("*.png"):
            if old.stem in FIGURES:
                old.unlink()
        for each in _possible(run, store):
            with style.theme():
                fig = FIGURES[each.figure].draw(models[each.data])
                if fig is not None:
                    store.write_bytes(each.path.relative_to(store.root).as_posix(), as_png(fig))
                    figures.append(each)
    except OSError as error:
        raise LatentbenchError(f"{folder}: cannot be written: {error.strerror or error}") from None
    manifest = {**_stamp(run), "figures": [(each.figure, each.data) for each in figures]}
    store.write(f"figures/{run.suite}/{MANIFEST}", json.dumps(manifest, indent=2) + "\n")
    return figures


def figures_folder(run: Run, store: Store) -> Path:
    """Return the folder of a run's figures."""
    return store.root / "figures" / run.suite


def _stamp(run: Run) -> dict[str, object]:
    """Return a hash of a run's records, their arrays, and the code that draws them."""
    return {
        "run": run.stem,
        "records": len(run.records),
        "source": [code().source, drawing_code()],
        "gaps": gaps(run),
    }


def as_png(fig: matplotlib.figure.Figure) -> bytes:
    """Return the figure, trimmed to its content, as a PNG: with a palette, unless it has photographs."""
    drawn = BytesIO()
    fig.savefig(drawn, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", pad_inches=0.1)
    with Image.open(drawn) as image:
        in_colour = image.convert("RGB")
    if _mean_difference(in_colour.quantize(PALETTES[0]), in_colour) > UNSEEN:
        return _png(in_colour)
    for colours in PALETTES:
        content = _png(in_colour.quantize(colours))
        if len(content) <= LARGEST_BYTES:
            break
    return content


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _mean_difference(image: Image.Image, other: Image.Image) -> float:
    """Return the mean absolute difference of two images over pixels and channels, in levels of 256."""
    return fmean(ImageStat.Stat(ImageChops.difference(image.convert("RGB"), other)).mean)


def draw_history(series: Sequence[Series], metric: str) -> bytes:
    """Draw one panel for each series, as PNG: its values with their intervals, change points dashed.

    Raises LatentbenchError for more series than a figure has room for.
    """
    if len(series) > MOST_PANELS:
        raise LatentbenchError(
            f"{len(series):,} series are too many for a figure, at most {MOST_PANELS}; "
            "choose with --suite or --model"
        )
    with style.theme():
        fig, all_axes = style.panels(len(series), columns=3, width=3.6, height=2.4)
        names = _short_labels([one.name for one in series])
        for axes, one, name in zip(all_axes, series, names, strict=True):
            _history_panel(axes, one)
            axes.set_title(f"{name}, {one.points[0].environment[:6]}")
        all_axes[0].set_ylabel(tables.heading(definition_of(metric)))
        fig.supxlabel(
            "runs, oldest first, by commit; dashed where the level seems to change", fontsize=style.SMALL
        )
        return as_png(fig)


def _history_panel(axes: Axes, one: Series) -> None:
    values = [point.value for point in one.points]
    errors = [float("nan") if point.half_width is None else point.half_width for point in one.points]
    axes.errorbar(range(len(values)), values, errors, color=style.colour(one.spec), marker="o", capsize=3)
    for index, point in enumerate(one.points):
        if point.changed:
            axes.axvline(index - 0.5, color=style.FAINT, linestyle="--", linewidth=1.2)
    _name_runs(axes, one.points)
    axes.margins(x=0.1)


def _name_runs(axes: Axes, points: Sequence[HistoryPoint]) -> None:
    """Label the first and the last run, and some between, by commit."""
    count = len(points)
    shown = sorted({round(index * (count - 1) / 2) for index in range(3)})
    axes.set_xticks(shown, [points[index].commit or points[index].begun[5:10] for index in shown])
