"""The index: it answers as the runs do, notices every change of them, and is never needed."""

import contextlib
import dataclasses
import os
import sqlite3

import pytest

from latentbench.bench.store.index import open_index
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.data.storage import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def write(store, records):
    with store.writer("my", "c0ffee12345") as writer:
        for record in records:
            writer.append(record)
        return writer.finish()


def values(store, metric="mse"):
    with open_index(store) as index:
        return [(path, [entry.value for entry in entries]) for path, entries in index.entries(metric)]


def test_the_index_has_the_last_value_of_each_case(store, make_record):
    failed = make_record(mse=None, status="failed", case="x")
    path = write(store, [failed, make_record(mse=0.1, case="x"), make_record(mse=0.2, seed=1, psnr=20.0)])
    assert values(store) == [(path, [0.1, 0.2])]
    assert values(store, "psnr") == [(path, [20.0])]
    assert values(store, "ssim") == []


def test_entries_name_the_model_as_its_record_does(store, make_record):
    record = make_record(mse=0.1, family="vae", latent_dim=3)
    write(store, [record])
    with open_index(store) as index:
        ((_, (entry,)),) = index.entries("mse")
        assert index.models()[entry.identity].label == record.label
    assert (entry.identity, entry.seed, entry.environment) == (record.identity, 0, "env")
    assert entry.commit == record.code.commit_label
    assert entry.se is None


def test_entries_have_the_errors_of_their_metric(store, make_record):
    record = make_record(mse=0.1)
    metric = dataclasses.replace(record.metrics[0], se=0.02, common_se=0.01)
    write(store, [record.model_copy(update={"metrics": (metric,)})])
    with open_index(store) as index:
        ((_, (entry,)),) = index.entries("mse")
    assert (entry.se, entry.common_se) == (0.02, 0.01)


def test_the_rows_of_a_removed_run_are_forgotten(store, make_record, own_cache):
    kept, removed = write(store, [make_record(mse=0.1)]), write(store, [make_record(mse=0.2)])
    values(store)
    removed.unlink()
    assert values(store) == [(kept, [0.1])]
    (file,) = (own_cache / "index").iterdir()
    with contextlib.closing(sqlite3.connect(file)) as database:
        for table in ("runs", "records", "numbers"):
            assert database.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (1,)


def test_a_changed_run_is_indexed_again(store, make_record):
    path = write(store, [make_record(mse=0.1)])
    assert values(store) == [(path, [0.1])]
    other = write(store, [make_record(mse=0.3)])
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(1, 1))
    assert values(store) == [(path, [0.3]), (other, [0.3])]
    path.unlink()
    assert values(store) == [(other, [0.3])]


def test_an_edited_record_is_left_out(store, make_record):
    path = write(store, [make_record(mse=0.1), make_record(mse=0.2, seed=1)])
    path.write_text(path.read_text().replace('"value":0.1', '"value":0.9'))
    assert values(store) == [(path, [0.2])]


def test_records_are_found_by_their_origin_the_latest_first(store, make_record):
    paths = [write(store, [make_record(mse=value, case="x")]) for value in (0.1, 0.2)]
    write(store, [make_record(mse=0.3, case="x", environment="other")])
    write(store, [make_record(mse=None, case="x", status="failed")])
    with open_index(store, "my") as index:
        places = index.records("my", "env", "abc", ("reconstruction",), ("ok",))["x"]
        assert index.records("my", "env", "other source", ("reconstruction",), ("ok",)) == {}
    assert [place.run for place in places] == paths[::-1]
    assert [place.read() for place in places] == [read(path).records[0] for path in paths[::-1]]
    paths[1].unlink()
    assert places[0].read() is None


def test_a_damaged_index_is_made_anew(store, make_record, own_cache):
    path = write(store, [make_record(mse=0.1)])
    values(store)
    (file,) = (own_cache / "index").iterdir()
    file.write_bytes(b"not a database" * 1000)
    assert values(store) == [(path, [0.1])]
    assert sqlite3.connect(file).execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_a_changed_number_in_the_index_is_not_shown(store, make_record, own_cache):
    path = write(store, [make_record(mse=0.1)])
    values(store)
    (file,) = (own_cache / "index").iterdir()
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        (content,) = database.execute("SELECT content FROM numbers").fetchone()
        flipped = bytes([content[0], content[1] ^ 0x40, *content[2:]])
        database.execute("UPDATE numbers SET content = ?", (flipped,))
    assert values(store) == [(path, [0.1])]


def test_without_a_cache_the_index_is_made_in_memory(store, make_record, own_cache):
    path = write(store, [make_record(mse=0.1)])
    own_cache.write_text("in the way")
    assert cache.cache_root() == own_cache
    assert values(store) == [(path, [0.1])]
