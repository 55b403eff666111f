"""The store and the comparison at size: 10,000 records opened, 1,000 cases of two runs compared.

Run with `pytest tests/speed -k store -s`. There is no rival: both must take less than 2 s on one core.
"""

from __future__ import annotations

from pathlib import Path

from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import shipped
from latentbench.bench.store.record import line_of
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def many(count):
    """The reference run's records again and again, each copy with new seeds."""
    records = [r for r in read(Store(REFERENCE).find("mnist")).records if r.status == "ok"]
    return [
        records[index % len(records)].model_copy(
            update={"schema_version": 2, "case": f"{index:016x}", "seed": index // len(records)}
        )
        for index in range(count)
    ]


def write(root, suite, records):
    folder = root / "runs" / suite
    folder.mkdir(parents=True)
    (folder / "20260101T000000Z-nocommit-abcdef.jsonl").write_bytes(b"".join(map(line_of, records)))


def shifted(records):
    """Every value a little other, so that each has to be tested."""
    for index, record in enumerate(records):
        metrics = tuple(
            metric.__class__(**{**metric.__dict__, "value": metric.value * (1.03 + index % 7 / 100)})
            if metric.value is not None
            else metric
            for metric in record.metrics
        )
        yield record.model_copy(update={"metrics": metrics})


def seconds(benchmark, call):
    benchmark.pedantic(call, rounds=3, warmup_rounds=1)
    return benchmark.stats.stats.median


def test_a_store_of_ten_thousand_records_is_opened(benchmark, tmp_path, capsys):
    write(tmp_path, "my", many(10_000))
    store = Store(tmp_path)
    taken = seconds(benchmark, lambda: [read(path) for path in store.paths()])
    with capsys.disabled():
        print(f"\n10,000 records opened in {taken:.2f} s")
    assert taken < 2


def test_two_runs_of_a_thousand_cases_are_compared(benchmark, tmp_path, capsys):
    records = many(1000)
    write(tmp_path, "a", records)
    write(tmp_path, "b", list(shifted(records)))
    store = Store(tmp_path)
    taken = seconds(
        benchmark, lambda: compare(read(store.find("a")), read(store.find("b")), shipped()).counts
    )
    with capsys.disabled():
        print(f"\ntwo runs of 1,000 cases compared in {taken:.2f} s")
    assert taken < 2
