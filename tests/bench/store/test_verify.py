"""Verifying a store: a whole one is whole, and every kind of damage is found and its remedy named."""

import json
import os

import numpy as np
import pytest

from latentbench.bench.provenance.environment import environment_hash
from latentbench.bench.store.baseline import set_baseline
from latentbench.bench.store.run import arrays_path, lines_of, read
from latentbench.bench.store.store import Store
from latentbench.bench.store.verify import verify
from latentbench.bench.store.writer import checksum_path
from latentbench.data.errors import LatentbenchError

ENVIRONMENT = {"cpu": "abacus"}
NAME = environment_hash(ENVIRONMENT)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results")
    store.prepare()
    store.remember_environment(NAME, ENVIRONMENT)
    return store


@pytest.fixture
def run(store, make_record):
    with store.writer("my", None) as writer:
        for seed in range(2):
            record = make_record(mse=0.1, seed=seed, environment=NAME)
            record = record.model_copy(update={"run": writer.run_id})
            writer.append(record, {"history/loss": np.arange(3.0)})
        run = read(writer.finish())
    set_baseline(store, "main", run, "good")
    return run


def test_a_store_as_it_was_written_is_whole(store, run):
    found = verify(store)
    assert found.problems == ()
    assert found.ok
    assert (found.runs, found.records) == (1, 2)


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def cut(path):
    os.truncate(path, path.stat().st_size - 5)


DAMAGE = {
    "a value edited": (
        lambda store, run: edit(run.path, '"value":0.1', '"value":0.09'),
        "line 1: changed after it was written",
    ),
    "the last line torn": (lambda store, run: cut(run.path), "line 2: torn"),
    "arrays edited": (
        lambda store, run: arrays_path(run.path, run.records[0].case).write_bytes(b""),
        "ae-2, seed 0: its arrays",
    ),
    "arrays gone": (
        lambda store, run: arrays_path(run.path, run.records[1].case).unlink(),
        "ae-2, seed 1: its arrays",
    ),
    "an environment edited": (
        lambda store, run: edit(store.root / "environments" / f"{NAME}.json", "abacus", "slide rule"),
        "its content does not give its name",
    ),
    "an environment gone": (
        lambda store, run: (store.root / "environments" / f"{NAME}.json").unlink(),
        "is gone or cannot be read",
    ),
    "a run renamed": (
        lambda store, run: run.path.rename(run.path.with_name("20260101T000000Z-nocommit-ffffff.jsonl")),
        "states that it belongs to run",
    ),
    "a record removed": (
        lambda store, run: run.path.write_bytes(b"".join(list(lines_of(run.path))[:1])),
        "records were removed, added or changed",
    ),
    "a record doubled": (
        lambda store, run: run.path.write_bytes(b"".join(list(lines_of(run.path)) * 2)),
        "ae-2, seed 0: line 3 repeats line 1",
    ),
    "a run removed": (lambda store, run: run.path.unlink(), "the run of this checksum is gone"),
    "a baseline's run changed": (
        lambda store, run: edit(run.path, "0.1", "0.2"),
        "was changed after it was set as a baseline",
    ),
    "baselines edited into nonsense": (
        lambda store, run: (store.root / "baselines.json").write_text("{}}"),
        "baselines.json",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_the_remedy_named(store, run, damage):
    do, message = DAMAGE[damage]
    do(store, run)
    found = verify(store)
    assert not found.ok
    assert any(message in str(problem) for problem in found.problems)
    assert all(problem.remedy for problem in found.problems)


def test_unfinished_and_leftover_files_are_notes(store, run, make_record):
    with store.writer("my", None) as writer:
        writer.append(make_record(mse=0.1, environment=NAME).model_copy(update={"run": writer.run_id}))
        assert verify(store).problems == ()
    (run.path.parent / ".x.jsonl.1.tmp").write_text("half")
    (run.path.parent / "20200101T000000Z-nocommit-aaaaaa").mkdir()
    found = verify(store)
    assert found.ok
    assert sorted(problem.what for problem in found.problems) == [
        "arrays without a run",
        "left by a writer that was stopped",
        "unfinished, with 1 records",
    ]


def test_records_of_the_first_schema_are_noted(store, run):
    lines = [json.loads(line) for line in run.path.read_text().splitlines()]
    for line in lines:
        for later in ("digest", "weights", "trained", "model_label", "model_series"):
            del line[later]
        line["schema_version"] = 1
    run.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    checksum_path(run.path).unlink()
    set_baseline(store, "main", read(run.path), "still good")
    found = verify(store)
    assert found.ok
    assert [problem.what for problem in found.problems] == [
        f"its checksum, {run.path.name}.sha256, is gone or was never written",
        "schema 1: no digests to check",
    ]


def test_a_run_in_progress_is_never_called_deletable(store, run):
    with store.writer("my", None):
        assert verify(store).problems == ()


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(LatentbenchError, match="is not a results folder"):
        verify(Store(tmp_path / "reslts"))
