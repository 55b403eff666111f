"""The models of a run as rows, from which tables, figures, the report and exports are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from latentbench.analysis.core.metric import Doubt, Metric, MetricDefinition, in_features
from latentbench.analysis.definitions import definitions, ordered
from latentbench.analysis.statistics.estimates import Estimate, Repeated, estimate, newest
from latentbench.bench.store.records.data_sets import by_data, label_on
from latentbench.bench.store.records.record import Record, numbered


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric of one model: its estimate, or the reason why there is none."""

    estimate: Estimate | None
    measured: int
    """The number of seeds with a value."""
    seeds: int
    """The number of seeds of the model."""
    reason: str | None = None
    """The reason of the first seed without a value; for a doubtful value, the disturbance."""
    doubt: Doubt | None = None
    """The reason why the estimate must not decide anything."""

    @property
    def value(self) -> float | None:
        """The estimate's value."""
        return self.estimate.value if self.estimate else None

    @property
    def decisive(self) -> float | None:
        """The value; None if there is none, or if it is doubtful."""
        return self.value if self.doubt is None else None

    @property
    def half_width(self) -> float | None:
        """The estimate's half width."""
        return self.estimate.half_width if self.estimate else None

    @property
    def share(self) -> str:
        """The text `2/3 seeds` if only two of three seeds have a value, else empty."""
        return f"{self.measured}/{self.seeds} seeds" if 0 < self.measured < self.seeds else ""


class Cells(Mapping[str, Cell]):
    """A model's cells by metric, in the order of the definitions, each computed when it is looked up.

    A table shows a few of many metrics, and a run may have thousands of models.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records, self._computed = records, dict[str, Cell]()
        measured = {metric.name for record in records for metric in record.metrics}
        self._names = tuple(definition.name for definition in ordered(measured))

    def __getitem__(self, name: str) -> Cell:
        """Return the cell of a metric. Raises KeyError for one that was not measured."""
        if name not in self._computed:
            if name not in self._names:
                raise KeyError(name)
            metrics = (record.metric(name) for record in self._records)
            found = [as_defined_now(metric) for metric in metrics if metric is not None]
            self._computed[name] = _cell(found, len(self._records))
        return self._computed[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the measured metrics."""
        return iter(self._names)

    def __len__(self) -> int:
        """Count the measured metrics."""
        return len(self._names)


@dataclass(frozen=True)
class TableRow:
    """One model on one data set: a cell for each metric."""

    label: str
    records: tuple[Record, ...]
    cells: Mapping[str, Cell]
    data: str = ""
    """The data set where the table has several, else empty."""

    @property
    def name(self) -> str:
        """The label, and the data set where the table has several."""
        return label_on(self.label, self.data)

    @property
    def problems(self) -> list[str]:
        """The errors, one line for each case that is not ok."""
        return [
            f"{self.name}, seed {record.seed}: {record.status} ({record.reason})"
            for record in self.records
            if record.status != "ok"
        ]

    @property
    def still_falling(self) -> bool:
        """True if the loss of any seed was still falling when its training ended."""
        return any(record.still_falling for record in self.records)

    @property
    def measured_by(self) -> str | None:
        """The other program whose results these are; None for latentbench."""
        return self.records[0].measured_by

    def metric(self, name: str) -> Metric:
        """Return the metric of the first seed that has it."""
        return next(metric for record in self.records if (metric := record.metric(name)))


def rows(records: Sequence[Record]) -> list[TableRow]:
    """Return one row for each model on each data set, see `by_data` and `models_of`."""
    found = by_data(records)
    return [
        TableRow(label, group, Cells(group), data if len(found) > 1 else "")
        for data, part in found.items()
        for label, group in models_of(part)
    ]


def models_of(records: Sequence[Record]) -> list[tuple[str, tuple[Record, ...]]]:
    """Return the label and the records of each model, in the order of all tables, from records in any order.

    The records are of one data set. Models are sorted by family and settings, and their records by seed.
    Models that differ in nothing their label shows are told apart by a number.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.identity, []).append(record)
    known = {family: position for position, family in enumerate(definitions().families)}

    def position(group: list[Record]) -> tuple[object, ...]:
        spec = group[0].model
        words, width, settings = spec.rank
        return known.get(spec.family, len(known)), words, width, settings

    in_order = sorted(groups.values(), key=position)
    by_seed = [tuple(sorted(group, key=lambda record: record.seed)) for group in in_order]
    labels = numbered(group[0].label for group in by_seed)
    return list(zip(labels, by_seed, strict=True))


def as_defined_now(metric: Metric) -> Metric:
    """Return the metric; null with a reason if it was measured by an earlier definition than the current one.

    A title and a legend describe the current definition, so an old value must not stand under them.
    """
    definition = in_features(definitions().metrics, metric.name)
    if definition is None or metric.version >= definition.version or metric.value is None:
        return metric
    reason = f"measured by version {metric.version} of this metric, now {definition.version}; run it again"
    return replace(metric, value=None, se=None, reason=reason, doubt=None)


def _cell(metrics: Sequence[Metric], seeds: int) -> Cell:
    """Return the cell of a metric, from the seeds whose value is not doubtful; from all if every value is."""
    current = newest(metrics)
    reason = next((metric.reason for metric in current if metric.decisive is None), None)
    trusted = [metric for metric in current if metric.decisive is not None]
    doubted = [metric for metric in current if metric.doubt is not None]
    counted = trusted or doubted
    return Cell(
        estimate(counted), len(counted), seeds, reason, None if trusted or not doubted else doubted[0].doubt
    )


def columns(table: Sequence[TableRow], *, headline: bool = False) -> list[MetricDefinition]:
    """Return the metrics of a table in their fixed order; only the headline ones if asked."""
    known = ordered(name for row in table for name in row.cells)
    return [definition for definition in known if definition.headline or not headline]


def without_values(table: Sequence[TableRow]) -> list[MetricDefinition]:
    """Return the headline metrics that no model has a value of; none of them if there is no value at all."""
    headline = columns(table, headline=True)
    empty = [
        definition
        for definition in headline
        if all((cell := row.cells.get(definition.name)) is None or cell.value is None for row in table)
    ]
    return empty if len(empty) < len(headline) else []


def leaders(table: Sequence[TableRow], definition: MetricDefinition) -> dict[str, float | None]:
    """Return the best undoubted value of a column for each data set, see `best`."""
    return {
        data: best([row for row in table if row.data == data], definition)
        for data in dict.fromkeys(row.data for row in table)
    }


def best(table: Sequence[TableRow], definition: MetricDefinition) -> float | None:
    """Return the best undoubted value of a column; None if no direction is better, and for a single value."""
    cells = (row.cells.get(definition.name) for row in table)
    values = [cell.decisive for cell in cells if cell is not None and cell.decisive is not None]
    if definition.better == "neither" or len(values) < 2:
        return None
    return max(values) if definition.better == "higher" else min(values)


def repeated(table: Sequence[TableRow]) -> Repeated:
    """Return the sample behind the ± of a table: seeds if any model has several, else examples."""
    return "seeds" if any(len(row.records) > 1 for row in table) else "examples"


def decisive_values(table: Sequence[TableRow]) -> dict[str, dict[str, float]]:
    """Return the values of each model's metrics that may decide something, by label and metric."""
    return {
        row.label: {name: value for name, cell in row.cells.items() if (value := cell.decisive) is not None}
        for row in table
    }
