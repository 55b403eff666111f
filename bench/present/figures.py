"""The pictures of a run, drawn from its records and the arrays kept beside them.

results/figures/<suite>/<name>.png       one for each registered figure that has something to show
results/figures/<suite>/pictures.json    whose pictures these are, written when the last is there
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import matplotlib.figure
from PIL import Image

from latentbench.analysis.figures.catalogue import FIGURES
from latentbench.analysis.figures.drawing.registry import Pictured
from latentbench.analysis.figures.drawing.style import theme
from latentbench.bench.present.tables import rows
from latentbench.bench.store.environment import code
from latentbench.bench.store.run import Run
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.data.files import write_atomically

DOTS_PER_INCH = 130
LARGEST_BYTES = 500_000
PALETTES = (256, 64, 32)
"""Numbers of colours, tried in turn until the file is no larger than `LARGEST_BYTES`."""
MANIFEST = "pictures.json"


def pictured(run: Run) -> list[Pictured]:
    """What there is to draw of every case of a run, model by model."""
    return [
        Pictured(
            row.label,
            record.model,
            record.seed,
            {metric.name: metric for metric in record.metrics},
            run.arrays(record),
            record.point,
        )
        for row in rows(run.last_records)
        for record in row.records
    ]


def draw_all(run: Run, store: Store) -> dict[str, Path]:
    """Draw every picture; returns their files by name. LatentbenchError where there is nothing to draw."""
    files = _draw(run, store)
    if not files:
        raise LatentbenchError(f"{run.stem}: nothing to draw: no picture can be made of its results")
    return files


def drawn(run: Run, store: Store) -> dict[str, Path]:
    """The pictures of a run, drawn only where those on disk are not this run's; empty if there are none."""
    folder = _folder(run, store)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or {**manifest, **_stamp(run)} != manifest:
        return _draw(run, store)
    files = {name: folder / f"{name}.png" for name in manifest["pictures"]}
    return files if all(file.is_file() for file in files.values()) else _draw(run, store)


def _draw(run: Run, store: Store) -> dict[str, Path]:
    models = pictured(run)
    folder = _folder(run, store)
    folder.mkdir(parents=True, exist_ok=True)
    # Until the new manifest is there, these are nobody's pictures.
    (folder / MANIFEST).unlink(missing_ok=True)
    files: dict[str, Path] = {}
    for name, figure in FIGURES.items():
        path = folder / f"{name}.png"
        with theme():
            picture = figure.draw(models)
            if picture is None:
                # An earlier run's would pass for this one's.
                path.unlink(missing_ok=True)
                continue
            write_atomically(path, as_png(picture))
        files[name] = path
    manifest = {**_stamp(run), "pictures": list(files)}
    store.write(f"figures/{run.suite}/{MANIFEST}", json.dumps(manifest, indent=2) + "\n")
    return files


def _folder(run: Run, store: Store) -> Path:
    return store.root / "figures" / run.suite


def _stamp(run: Run) -> dict[str, object]:
    """What the pictures of a run follow from: its records, and the code that draws them."""
    return {"run": run.stem, "records": len(run.records), "source": code().source}


def as_png(picture: matplotlib.figure.Figure) -> bytes:
    """Return the figure, trimmed to what is drawn, as a PNG with a palette, which is small."""
    drawn = BytesIO()
    picture.savefig(drawn, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", pad_inches=0.1)
    with Image.open(drawn) as image:
        in_colour = image.convert("RGB")
    for colours in PALETTES:
        buffer = BytesIO()
        in_colour.quantize(colours).save(buffer, format="png", optimize=True)
        if buffer.tell() <= LARGEST_BYTES:
            break
    return buffer.getvalue()
