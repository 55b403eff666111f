"""The result of measuring one model: it prints as a table and converts to pandas."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from latentbench.analysis.core.metric import METRICS, Metric
from latentbench.analysis.core.registry import Measurement
from latentbench.data.registry import unknown
from latentbench.data.text.numbers import value_and_error

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 110
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The metrics of one model on one data set, by analysis.

    `result["mse"]` is a metric with `value`, `se` (its standard error), `n`, `unit` and `better`; a metric
    that could not be measured has the value None and states its `reason`. `measurements` also holds the
    arrays that figures are drawn from and the values for each image.
    """

    model: str
    data: str
    seed: int
    measurements: Mapping[str, Measurement]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Every metric, in the order of the analyses."""
        return tuple(metric for measurement in self.measurements.values() for metric in measurement.metrics)

    def __getitem__(self, name: str) -> Metric:
        """Return a metric by name. Raises LatentbenchError, with a suggestion, if it was not measured."""
        found = {metric.name: metric for metric in self.metrics}
        if name not in found:
            raise unknown("metric", name, list(found))
        return found[name]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per metric name: analysis, value, se, n, unit, better, version and reason."""
        import pandas as pd

        rows = [
            {
                "metric": metric.name,
                "analysis": analysis,
                "value": metric.value,
                "se": metric.se,
                "n": metric.n,
                "unit": metric.unit,
                "better": metric.better,
                "version": metric.version,
                "reason": metric.reason,
            }
            for analysis, measurement in self.measurements.items()
            for metric in measurement.metrics
        ]
        frame = pd.DataFrame(rows).set_index("metric")
        return frame.astype({"value": "float64", "se": "float64", "n": "Int64"})

    def __rich__(self) -> Group:
        """Build a table of the measured metrics, and below it the others with their reasons."""
        table = Table("metric", "value", "standard error", "n", "unit", title=Text(self._title))
        for metric in self.metrics:
            if metric.value is not None:
                cells = (_name(metric), *_value_and_error(metric), _count(metric), metric.unit)
                table.add_row(*(Text(cell) for cell in cells))
        return Group(table, *(Text(line) for line in self._nulls()))

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get().rstrip()

    def __repr__(self) -> str:
        measured = sum(metric.value is not None for metric in self.metrics)
        return f"<Result of {self._title}: {measured} of {len(self.metrics)} metrics measured>"

    def _repr_html_(self) -> str:
        table: str = self.to_frame().to_html(na_rep="")
        return f"<p>{html.escape(self._title)}</p>{table}"

    @property
    def _title(self) -> str:
        return f"{self.model} on {self.data}, seed {self.seed}"

    def _nulls(self) -> list[str]:
        """Return one line per reason, with the metrics that have it."""
        nulls = sorted((metric.reason or "", metric.name) for metric in self.metrics if metric.reason)
        return [
            f"not measured ({reason}): {', '.join(name for _, name in names)}"
            for reason, names in groupby(nulls, key=lambda null: null[0])
        ]


def _name(metric: Metric) -> str:
    return f"{metric.name} {ARROWS[metric.better]}".rstrip()


def _value_and_error(metric: Metric) -> tuple[str, str]:
    decimals = METRICS[metric.name].decimals if metric.name in METRICS else 3
    return ("", "") if metric.value is None else value_and_error(metric.value, metric.se, decimals)


def _count(metric: Metric) -> str:
    return "" if metric.n is None else f"{metric.n:,}"
