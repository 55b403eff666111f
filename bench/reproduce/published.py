"""Published rows, and the verdict on a measurement: inside or outside of what chance and rounding explain.

A set of rows states where they were published, on which images and by which protocol. Registering a set in
`ROW_SETS` is all that another kind of rows needs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from latentbench.analysis.core.metric import Metric, MetricDefinition
from latentbench.analysis.statistics.intervals import NORMAL_95, binomial_se
from latentbench.bench.reproduce.subject import SILENT, Reporter
from latentbench.data.errors import DataError, LatentbenchError
from latentbench.data.registry import Registry

Verdict = Literal["inside", "outside", "not measured", "not compared"]
ALL_IMAGES = "split=all in --data measures every image of a folder without train/ and test/"


class Published(BaseModel):
    """A published value; `step` is the unit of its last digit, `sd` the standard deviation over images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    step: float
    sd: float | None = None


def parse_published(text: object) -> object:
    """Parse `23.4 ± 3.8` as it is printed in a paper.

    >>> parse_published("23.4 ± 3.8")
    {'value': 23.4, 'step': 0.1, 'sd': 3.8}
    """
    found = re.fullmatch(r"(\d+(?:\.(\d+))?)(?: ± (\d+(?:\.\d+)?))?", str(text))
    if not found:
        raise ValueError(f"must be a number as printed, such as '23.4 ± 3.8', got {text!r}")
    digits = len(found[2] or "")
    return {
        "value": float(found[1]),
        "step": round(10.0**-digits, digits),
        "sd": float(found[3]) if found[3] else None,
    }


class Row(BaseModel):
    """One row of a published table: a model, and its values by metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    model: dict[str, Any]
    """The model as an entry of a suite."""
    values: dict[str, Annotated[Published, BeforeValidator(parse_published)]]


class RowSet(BaseModel):
    """Rows of one table, measured alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    source: str
    data: str
    """A description of the images, for the user who names their folder."""
    images: int
    size: int | None = None
    """The side of the images in pixels; None where a model scales them itself."""
    protocol: str
    rows: list[Row]


@dataclass(frozen=True)
class RowRequest:
    """The user's request: the images, local weights of networks, the device, and the progress reporter."""

    data: str
    features: tuple[str, ...] = ()
    device: str = "auto"
    allow_pickle: bool = False
    reporter: Reporter = SILENT


@dataclass(frozen=True)
class Reproducible:
    """A set of rows, the definition of a metric by its name, and what measures the metrics of one row."""

    rows: RowSet
    define: Callable[[RowSet, str], MetricDefinition]
    measure: Callable[[RowSet, Row, RowRequest], Mapping[str, Metric]]


ROW_SETS: Registry[Callable[[], Reproducible]] = Registry("row set")


@dataclass(frozen=True)
class RowComparison:
    """A published value and its measurement; `allowed` is the difference that would still be inside.

    `reason` says why there is no verdict.
    """

    row: str
    metric: str
    published: Published
    measured: Metric
    allowed: float | None
    verdict: Verdict
    reason: str | None = None


def compare_row(chosen: Reproducible, row: Row, request: RowRequest) -> list[RowComparison]:
    """Measure a row, and compare each value; all are null with the reason if its model cannot be loaded.

    Raises DataError for images that cannot be measured, which concern every row.
    """
    try:
        measured = chosen.measure(chosen.rows, row, request)
    except DataError:
        raise
    except LatentbenchError as error:
        measured = {name: chosen.define(chosen.rows, name).missing(str(error)) for name in row.values}
    return [judge(row, name, metric, chosen.rows.images) for name, metric in measured.items()]


def judge(row: Row, metric: str, measured: Metric, images: int) -> RowComparison:
    """Compare a published value with a measurement.

    Inside means: closer than half of the last printed digit and 1.96 standard errors of the difference. The
    error of the published value is sd / √images; on the very same images that is too wide. An accuracy must
    lie in the binomial interval of the published one, for as many images as were measured; of other metrics,
    values of another number of images are not compared.
    """
    published = row.values[metric]
    if measured.value is None:
        return RowComparison(row.name, metric, published, measured, None, "not measured", measured.reason)
    if measured.unit == "accuracy" and measured.n:
        error = binomial_se(round(published.value * measured.n), measured.n)
        return _compared(row.name, metric, measured, published, NORMAL_95 * error)
    if measured.n != images:
        reason = f"of {measured.n or 0:,} images, but published are values of {images:,}; {ALL_IMAGES}"
        return RowComparison(row.name, metric, published, measured, None, "not compared", reason)
    theirs = 0.0 if published.sd is None else published.sd / math.sqrt(images)
    return _compared(
        row.name, metric, measured, published, NORMAL_95 * math.hypot(theirs, measured.se or 0.0)
    )


def _compared(row: str, metric: str, measured: Metric, published: Published, chance: float) -> RowComparison:
    assert measured.value is not None
    allowed = published.step / 2 + chance
    inside = abs(measured.value - published.value) <= allowed
    return RowComparison(row, metric, published, measured, allowed, "inside" if inside else "outside")
