"""The figures of a run, drawn from its records and the arrays stored with them.

results/figures/<suite>/<name>.png      one for each registered figure that the run has data for
results/figures/<suite>/figures.json    the run that the figures show; written last
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from statistics import fmean

import matplotlib.figure
from matplotlib.axes import Axes
from PIL import Image, ImageChops, ImageStat

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.figures.catalogue import FIGURES
from latentbench.analysis.figures.drawing import style
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.bench.present import tables
from latentbench.bench.present.history import HistoryPoint, Series
from latentbench.bench.present.rows import models_of
from latentbench.bench.provenance.code import code, drawing_code
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


def model_results(run: Run) -> list[ModelResult]:
    """Return what the figures show of a run, model by model; arrays are read when a figure needs them."""
    return [
        ModelResult(
            label,
            record.model,
            record.seed,
            {metric.name: metric for metric in record.metrics},
            run.arrays(record),
            record.point,
        )
        for label, records in _shown(models_of(run.last_records))
        for record in records
    ]


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
    return numbered(
        label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 16]} … {label[-12:]}"
        for label in map(escaping.printable, labels)
    )


def gaps(run: Run) -> list[str]:
    """Return a line for each way in which the figures do not show all of a run."""
    models = models_of(run.last_records)
    shown = _shown(models)
    lines = []
    if len(shown) < len(models):
        lines.append(
            f"the figures show {len(shown):,} of the {len(models):,} rows, spread evenly over the table: "
            "more could not be told apart"
        )
    records = [record for _, group in shown for record in group]
    lacking = [record for record in records if record.arrays and not run.arrays(record)]
    if lacking:
        lines.append(
            f"the figures lack {len(lacking):,} of {len(records):,} cases, such as {lacking[0].name}: its "
            f"arrays, {arrays_path(run.path, lacking[0].case)}, are gone or were changed; {MEASURE_AGAIN}"
        )
    return lines


def draw_all(run: Run, store: Store) -> dict[str, Path]:
    """Draw every figure; return their files by name. Raises LatentbenchError if there is nothing to draw."""
    files = _draw(run, store)
    if not files:
        raise LatentbenchError(f"{run.stem}: nothing to draw: no figure can be made of its results")
    return files


def drawn(run: Run, store: Store) -> dict[str, Path]:
    """Return the figures of a run, drawn only if those on disk are another run's; empty if there are none."""
    folder = _folder(run, store)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or {**manifest, **_stamp(run)} != manifest:
        return _draw(run, store)
    names = manifest.get("figures")
    files = {name: folder / f"{name}.png" for name in names if name in FIGURES} if names else {}
    return files if all(file.is_file() for file in files.values()) else _draw(run, store)


def _draw(run: Run, store: Store) -> dict[str, Path]:
    models = model_results(run)
    folder = _folder(run, store)
    try:
        # Until the new manifest is written, the figures in the folder belong to no run.
        (folder / MANIFEST).unlink(missing_ok=True)
        files: dict[str, Path] = {}
        for name, figure in FIGURES.items():
            with style.theme():
                fig = figure.draw(models)
                if fig is not None:
                    files[name] = store.write_bytes(f"figures/{run.suite}/{name}.png", as_png(fig))
                else:
                    # A figure of an earlier run must not be mistaken for one of this run.
                    (folder / f"{name}.png").unlink(missing_ok=True)
    except OSError as error:
        raise LatentbenchError(f"{folder}: cannot be written: {error.strerror or error}") from None
    manifest = {**_stamp(run), "figures": list(files)}
    store.write(f"figures/{run.suite}/{MANIFEST}", json.dumps(manifest, indent=2) + "\n")
    return files


def _folder(run: Run, store: Store) -> Path:
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
        all_axes[0].set_ylabel(tables.heading(METRICS[metric]))
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
