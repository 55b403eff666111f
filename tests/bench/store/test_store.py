"""The store reads back all that was written, after any interruption."""

import errno
import hashlib
import json
import os

import numpy as np
import pytest

from latentbench.bench.store.run import arrays_path, read
from latentbench.bench.store.store import Store
from latentbench.bench.store.writer import is_locked
from latentbench.data.errors import LatentbenchError


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results")
    store.prepare()
    return store


def write_run(store, records, *, finish=True, suite="my", resume=None):
    with store.writer(suite, "0123456789", resume) as writer:
        for record in records:
            writer.append(record)
        return writer.finish() if finish else writer.path


def test_records_come_back_as_they_were_written(store, make_record):
    records = [make_record(mse=0.1, ssim=None, seed=seed) for seed in range(3)]
    run = read(write_run(store, records))
    assert run.finished
    assert run.warnings == ()
    assert list(run.records) == records


def test_a_line_is_plain_json_that_anyone_can_read(store, make_record):
    line = json.loads(write_run(store, [make_record(mse=0.1)]).read_text())
    assert line["metrics"][0]["name"] == "mse"
    assert line["metrics"][0]["value"] == 0.1
    assert line["model"]["latent_dim"] == 2


def test_an_unfinished_run_is_readable_and_is_called_partial(store, make_record):
    path = write_run(store, [make_record(mse=0.1)], finish=False)
    assert path.name.endswith(".partial.jsonl")
    assert not read(path).finished
    assert len(read(path).records) == 1


def test_torn_last_line_is_dropped_with_a_warning(store, make_record):
    path = write_run(store, [make_record(mse=0.1), make_record(mse=0.2, seed=1)], finish=False)
    os.truncate(path, path.stat().st_size - 10)
    torn = read(path)
    assert len(torn.records) == 1
    assert torn.warnings[0].what.startswith("torn")
    healed = read(write_run(store, [make_record(mse=0.3, seed=2)], resume=path))
    assert [record.seed for record in healed.records] == [0, 2]
    assert healed.warnings == ()


def test_a_line_that_is_no_record_is_left_out_and_named(store, make_record):
    path = write_run(store, [make_record(mse=0.1), make_record(mse=0.2, seed=1)])
    lines = path.read_text().splitlines()
    unsealed = lines[0].partition(',"digest"')[0].replace('"seed":0', '"seed":"zero"') + "}"
    path.write_text("\n".join([unsealed, "<<<<<<< HEAD", lines[1]]) + "\n")
    run = read(path)
    assert [record.seed for record in run.records] == [1]
    assert run.warnings[0].what.startswith("not a record (seed")
    assert run.warnings[1].line == 2


@pytest.mark.parametrize(
    "edit",
    [
        lambda line: line.replace('"value":0.1', '"value":0.09'),
        lambda line: json.dumps(json.loads(line.replace('"value":0.1', '"value":0.09'))),
        lambda line: line.partition(',"digest"')[0] + "}",
    ],
    ids=["a value", "a value, and written anew", "the digest taken away"],
)
def test_a_hand_edited_record_is_left_out_and_the_remedy_named(store, make_record, edit):
    path = write_run(store, [make_record(mse=0.1), make_record(mse=0.2, seed=1)])
    lines = path.read_text().splitlines()
    path.write_text(edit(lines[0]) + "\n" + lines[1] + "\n")
    run = read(path)
    assert [record.seed for record in run.records] == [1]
    assert run.warnings[0].what.startswith("changed after it was written")
    assert "restore the file" in run.warnings[0].remedy


def test_first_schema_is_read_and_a_later_one_is_refused(store, make_record):
    path = write_run(store, [make_record(mse=0.1)])
    content = json.loads(path.read_text())
    for later in ("digest", "weights", "trained", "model_label", "model_series", "judges"):
        del content[later]
    old = json.dumps({**content, "schema_version": 1})
    later = json.dumps({**content, "schema_version": 7, "unheard_of": 0})
    path.write_text(old + "\n" + later + "\n")
    run = read(path)
    assert [(record.schema_version, record.weights) for record in run.records] == [(1, None)]
    assert [warning.what for warning in run.warnings] == ["schema 7, and this version reads 1 to 6"]
    assert run.records[0].reused_in("other").schema_version == 6


def test_a_clock_set_back_does_not_hide_the_latest_run(store, make_record):
    folder = store.root / "runs" / "my"
    write_run(store, [make_record(mse=0.1)]).rename(folder / "20991231T235959Z-01234567-abcdef.jsonl")
    with store.writer("my", None) as writer:
        writer.append(make_record(mse=0.2))
        note, latest = writer.note, writer.finish()
    assert store.find("latest") == latest
    assert latest.name.startswith("21000101T000000Z-")
    assert "the last run here was started at 2099-12-31 23:59: one of them is wrong" in note


def test_runs_begun_within_a_second_keep_their_order(store, make_record):
    paths = [write_run(store, [make_record(mse=0.1)], suite=suite) for suite in ("b", "a", "c")]
    assert store.paths() == paths
    with store.writer("d", None) as writer:
        assert writer.note is None


def test_another_results_folder_stands_for_its_latest_run(store, make_record, tmp_path):
    path = write_run(store, [make_record(mse=0.1)])
    assert Store(tmp_path / "elsewhere").find(str(store.root)) == path


def test_an_output_that_cannot_be_written_loses_no_record(store, make_record):
    write_run(store, [make_record(mse=0.1)])
    (store.root / "tables").write_text("in the way")
    with pytest.raises(LatentbenchError, match=r"cannot be written: .*; no record is lost"):
        store.write("tables/my.csv", "a,b")


def test_a_case_tried_twice_counts_by_its_last_record(store, make_record):
    run = read(write_run(store, [make_record(mse=None, status="failed"), make_record(mse=0.2)]))
    assert [record.status for record in run.records] == ["failed", "ok"]
    assert [record.status for record in run.last_records] == ["ok"]


def test_arrays_are_stored_next_to_the_run(store, make_record):
    with store.writer("my", None) as writer:
        record = writer.append(make_record(mse=0.1), {"history/kl": np.arange(4, dtype=np.float32)})
        run = read(writer.finish())
    assert record.arrays is not None
    assert run.arrays(run.records[0])["history/kl"].tolist() == [0, 1, 2, 3]
    arrays_path(run.path, record.case).write_bytes(b"other arrays")
    assert run.arrays(run.records[0]) == {}


def test_two_writers_never_share_a_run(store, make_record):
    with store.writer("my", None) as first:
        first.append(make_record(mse=0.1))
        assert is_locked(first.path)
        with store.writer("my", None, resume=first.path) as second:
            assert second.path != first.path
        with store.writer("my", None) as third:
            assert third.path not in (first.path, second.path)
    assert not is_locked(first.path)


def test_resuming_a_run_that_was_finished_begins_another(store, make_record):
    partial = write_run(store, [make_record(mse=0.1)], finish=False)
    finished = write_run(store, [make_record(mse=0.2, seed=1)], resume=partial)
    with store.writer("my", None, resume=partial) as writer:
        assert writer.path not in (partial, finished)
        assert writer.records == []


def test_finishing_never_replaces_a_file(store, make_record):
    with store.writer("my", None) as writer:
        writer.append(make_record(mse=0.1))
        taken = writer.path.with_name(writer.path.name.replace(".partial", ""))
        taken.write_text("other records")
        with pytest.raises(LatentbenchError, match="already exists; the records are in"):
            writer.finish()
    assert taken.read_text() == "other records"
    assert len(read(writer.path).records) == 1


def test_a_run_deleted_while_it_is_written_is_whole_at_its_end(store, make_record):
    with store.writer("my", None) as writer:
        writer.append(make_record(mse=0.1))
        writer.path.unlink()
        writer.append(make_record(mse=0.2, seed=1))
        path = writer.finish()
    assert [record.seed for record in read(path).records] == [0, 1]
    assert not list(path.parent.glob(".*"))


def test_a_finished_run_has_a_checksum_of_the_common_format(store, make_record):
    path = write_run(store, [make_record(mse=0.1)])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (path.parent / f"{path.name}.sha256").read_text() == f"{digest}  {path.name}\n"


@pytest.mark.parametrize(
    "name", ["", "*", "my[1]", "..", ".hidden", "latest", "reference", "latest~1", "a/b", "a\nb", "a."]
)
def test_a_suite_name_that_is_no_folder_name_is_refused(store, name):
    with pytest.raises(LatentbenchError, match="suite name"), store.writer(name, None):
        pass


def test_a_suite_name_is_never_a_pattern(store, make_record):
    write_run(store, [make_record(mse=0.1)], suite="my1")
    assert store.paths("my[1]") == store.paths("*") == []


def test_latest_passes_over_a_run_without_records(store, make_record):
    path = write_run(store, [make_record(mse=0.1)])
    write_run(store, [], finish=False)
    assert store.find("latest") == store.find("my") == path


def test_a_file_system_without_locks_is_found_first(store, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(LatentbenchError, match="cannot be locked: Operation not supported; choose another"):
        store.prepare()
    assert not list(store.root.iterdir())


def test_unwritable_folder_is_an_error_before_any_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LatentbenchError, match=r"cannot be written .*; choose another with --results"):
        Store(tmp_path / "file" / "results").prepare()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, the device that is always full")
def test_a_full_disk_says_what_is_safe(store, make_record):
    with store.writer("my", None) as writer, open("/dev/full", "wb", buffering=0) as full:
        writer.append(make_record(mse=0.1))
        on_disk = writer.file
        writer.file = full
        with pytest.raises(
            LatentbenchError, match=r"No space left on device; the 1 cases before this one are safe"
        ):
            writer.append(make_record(mse=0.2, seed=1))
        writer.file = on_disk
    assert len(read(writer.path).records) == 1


def test_runs_are_found_by_every_kind_of_name(store, make_record):
    first = write_run(store, [make_record(mse=0.1)], suite="one")
    second = write_run(store, [make_record(mse=0.1)], suite="two")
    stems = sorted([first, second], key=lambda path: path.name)
    assert store.find("latest") == stems[1]
    assert store.find("latest~1") == stems[0]
    assert store.find("one") == first
    assert store.find(read(second).stem) == second
    assert store.find(read(second).stem[-6:]) == second
    assert store.find(str(first)) == first


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("latest~5", "there are only 1 runs"),
        ("latest~x", "whole number"),
        ("nothing", "no run is named 'nothing'"),
    ],
)
def test_missing_run_error_lists_the_runs(store, make_record, reference, message):
    write_run(store, [make_record(mse=0.1)])
    with pytest.raises(LatentbenchError, match=message):
        store.find(reference)


def test_an_empty_store_says_how_to_fill_it(store):
    with pytest.raises(LatentbenchError, match="make one with: latentbench run"):
        store.find("latest")
