"""The store and the comparison at size: what reading, comparing and each command take on large stores.

Run with `pytest tests/speed -k store -s`. There is no rival; the bounds are for one idle core.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import shipped
from latentbench.bench.store.records.line import line_of
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store

COMMANDS = {"table": 2.0, "history mse": 3.0, "results verify": 10.0, "baseline list": 0.7}
"""Processor seconds of each command on 100 runs of 1,000 records."""
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
            replace(metric, value=metric.value * (1.03 + index % 7 / 100))
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


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """100 runs of 1,000 records, made by a separate process."""
    folder, script = tmp_path_factory.mktemp("large"), Path(__file__).with_name("large_store.py")
    subprocess.run([sys.executable, script, folder / "results"], check=True)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_on_a_large_store_takes_seconds(large, monkeypatch, capsys, command):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(large / "cache"))
    start = "from latentbench.bench.cli.app import main; main()"
    call = [sys.executable, "-c", start, *command.split(), "--results", large / "results"]
    # The first call makes the index, the cache of definitions and the compiled modules.
    for _ in range(2):
        process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        assert status == 0
    seconds = used.ru_utime + used.ru_stime
    with capsys.disabled():
        print(f"\n{command} on 100,000 records: {seconds:.2f} s of one core")
    assert seconds < COMMANDS[command]
