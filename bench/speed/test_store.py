"""What the results store costs: `pytest bench/speed -k store -s`. No rival, a limit each."""

from __future__ import annotations

import pytest

from latentbench.analysis.catalogue import METRICS
from latentbench.bench import tables
from latentbench.bench.environment import Code
from latentbench.bench.record import DataReference, Record, Seconds
from latentbench.bench.store import Store, read
from latentbench.models.recipe import Recipe
from latentbench.models.zoo import model_spec

RECORDS = 1000
CODE = Code(version="0.1.0", commit="0" * 40, dirty=False, source="abc")


def record(number):
    """A record with a value of every metric: as long as a line gets."""
    return Record(
        suite="speed",
        run="abc123",
        case=f"{number:016x}",
        model=model_spec(family="vae", latent_dim=16, beta=float(number + 1)),
        data=DataReference(name="mnist", fingerprint="f" * 64, train=60_000, test=10_000),
        recipe=Recipe(),
        seed=0,
        analyses=("reconstruction",),
        status="ok",
        metrics=tuple(
            metric.measured(number + 0.123456789, se=0.01, n=10_000) for _, metric in METRICS.items()
        ),
        environment="0123456789ab",
        code=CODE,
        started="2026-01-01T00:00:00+00:00",
        seconds=Seconds(train=1.0, evaluate=2.0),
    )


@pytest.fixture(scope="module")
def records():
    return [record(number) for number in range(RECORDS)]


@pytest.fixture(scope="module")
def run(records, tmp_path_factory):
    with Store(tmp_path_factory.mktemp("results")).writer("speed", None) as writer:
        for each in records:
            writer.append(each)
        return read(writer.finish())


@pytest.fixture
def within(benchmark, capsys):
    """`within(what, seconds, call)`: times the call, says what it took, and holds it against a limit."""

    def within(what, most_seconds, call):
        benchmark.pedantic(call, rounds=3, warmup_rounds=1)
        benchmark.extra_info.update(limit_seconds=most_seconds)
        with capsys.disabled():
            print(f"\n{what}: {benchmark.stats.stats.median:.3f} s, at most {most_seconds:g} s")
        assert benchmark.stats.stats.min < most_seconds

    return within


def test_store_appends(within, records, tmp_path):
    """With each line on the disk before the next."""
    store = Store(tmp_path)

    def append():
        with store.writer("speed", None) as writer:
            for each in records[:100]:
                writer.append(each)

    within("100 records appended, each synced", 5.0, append)


def test_store_reads(within, run):
    within(f"{RECORDS:,} records read and checked", 5.0, lambda: read(run.path))


def test_store_tabulates(within, run):
    within(f"{RECORDS:,} records made a CSV", 10.0, lambda: tables.as_csv(tables.rows(run.last_records)))
