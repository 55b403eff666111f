"""The data sets of the records of a run, and how they are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from latentbench.bench.store.records.record import Record


def by_data(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each data set by its name, sorted by name.

    Different data sets of one name are told apart by their fingerprints.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.data.fingerprint, []).append(record)
    count = Counter(group[0].data.name for group in groups.values())
    named = {
        f"{name} {fingerprint[:8]}" if count[name := group[0].data.name] > 1 else name: group
        for fingerprint, group in groups.items()
    }
    return {name: named[name] for name in sorted(named)}


def label_on(label: str, data: str) -> str:
    """Return a model's label with the data set, if one is given.

    >>> label_on("ae-2", "digits"), label_on("ae-2", "")
    ('ae-2 on digits', 'ae-2')
    """
    return f"{label} on {data}" if data else label


def row_names(records: Iterable[Record]) -> Callable[[Record], str]:
    """Return how a record's model is named among these: its label, and its data set if there are several."""
    found = by_data(records)
    name = {group[0].data.fingerprint: data for data, group in found.items()} if len(found) > 1 else {}
    return lambda record: label_on(record.label, name.get(record.data.fingerprint, ""))
