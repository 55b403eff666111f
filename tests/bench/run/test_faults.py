"""An interrupted run loses no finished result, and no false one is read."""

import multiprocessing
import os
import resource
import signal
import subprocess
import time
from collections import deque

import numpy as np
import pytest

from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.bench.store.writer import is_locked
from latentbench.data.errors import LatentbenchError

fork = multiprocessing.get_context("fork")
SAFE = r"cases before this one are safe; run the same command again to resume"


def write_for_ever(root, records, suite="my"):
    with Store(root).writer(suite, None) as writer:
        for record in records:
            writer.append(record, {"history/loss": np.random.default_rng(0).random(2000)})
        writer.finish()


def killed_while_writing(root, records, after):
    """A process that is killed with -9 once so many lines are there, in the middle of what comes next."""
    child = fork.Process(target=write_for_ever, args=(root, records))
    child.start()
    deadline = time.monotonic() + 60
    while sum(path.read_bytes().count(b"\n") for path in root.glob("runs/my/*.partial.jsonl")) < after:
        assert time.monotonic() < deadline
    os.kill(child.pid, signal.SIGKILL)
    child.join()


@pytest.mark.parametrize("after", [1, 4, 9])
def test_killed_writer_leaves_whole_records_and_can_resume(tmp_path, make_record, after):
    records = [make_record(mse=seed / 1000, seed=seed) for seed in range(500)]
    killed_while_writing(tmp_path, records, after)
    (path,) = tmp_path.glob("runs/my/*.partial.jsonl")
    run = read(path)
    done = len(run.records)
    assert done >= after
    assert [record.metrics for record in run.records] == [record.metrics for record in records[:done]]
    assert all(len(run.arrays(record)["history/loss"]) == 2000 for record in run.records)
    store = Store(tmp_path)
    assert not is_locked(path)
    with store.writer("my", None, resume=path) as writer:
        writer.append(records[done])
        healed = read(writer.finish())
    assert healed.warnings == ()
    assert len(healed.records) == done + 1


def test_two_processes_in_one_store_write_two_whole_runs(tmp_path, make_record):
    runs = [
        [make_record(mse=1 / (seed + 1), seed=seed, latent_dim=width) for seed in range(40)]
        for width in (2, 8)
    ]
    children = [fork.Process(target=write_for_ever, args=(tmp_path, records)) for records in runs]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    written = [read(path) for path in Store(tmp_path).paths("my")]
    assert [run.warnings for run in written] == [(), ()]
    widths = [{record.model.latent_dim for record in run.records} for run in written]
    assert sorted(map(sorted, widths)) == [[2], [8]]
    assert [len(run.records) for run in written] == [40, 40]


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of 64 kB, where we are allowed to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(store, make_record):
    """Append until it fails; returns how many records are safe, and what was said."""
    with store.writer("my", None) as writer:
        records = (make_record(mse=0.1, seed=seed) for seed in range(1000))
        with pytest.raises(LatentbenchError, match=SAFE) as caught:
            deque(map(writer.append, records), maxlen=0)
        return len(writer.records), str(caught.value)


def test_full_disk_loses_no_finished_case_and_run_resumes(tiny_disk, make_record):
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(40_000))
    store = Store(tiny_disk / "results")
    store.prepare()
    count, message = fill(store, make_record)
    assert count > 3
    assert f"No space left on device; the {count} cases" in message
    (path,) = tiny_disk.glob("results/runs/my/*.jsonl")
    run = read(path)
    assert (len(run.records), run.warnings) == (count, ())
    with pytest.raises(LatentbenchError, match="No space left on device; no record is lost"):
        store.write("tables/my.csv", "x" * 40_000)
    ballast.unlink()
    with store.writer("my", None, resume=path) as writer:
        writer.append(make_record(mse=0.1, seed=count))
        assert len(read(writer.finish()).records) == count + 1


def limited(root, make_record, answer):
    """Run in a process that may write no file of more than 20 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    answer.put(fill(Store(root), make_record))


def test_a_quota_loses_nothing_finished(tmp_path, make_record):
    answer = fork.Queue()
    child = fork.Process(target=limited, args=(tmp_path, make_record, answer))
    child.start()
    count, message = answer.get(timeout=30)
    child.join(60)
    assert count > 3
    assert "File too large" in message
    (path,) = tmp_path.glob("runs/my/*.jsonl")
    run = read(path)
    assert (len(run.records), run.warnings) == (count, ())


def test_arrays_that_do_not_fit_leave_no_record(tiny_disk, make_record):
    with Store(tiny_disk).writer("my", None) as writer:
        writer.append(make_record(mse=0.1), {"history/loss": np.zeros(1000)})
        with pytest.raises(LatentbenchError, match=SAFE):
            writer.append(make_record(mse=0.1, seed=1), {"history/loss": np.zeros(100_000)})
        run = read(writer.path)
    assert len(run.records) == 1
    assert list(tiny_disk.glob("runs/my/*/.*")) == []


def test_reader_sees_whole_records_while_another_writes(tmp_path, make_record):
    records = [make_record(mse=0.1, seed=seed) for seed in range(150)]
    child = fork.Process(target=write_for_ever, args=(tmp_path, records))
    child.start()
    seen = []
    while child.is_alive():
        for path in tmp_path.glob("runs/my/*.jsonl"):
            try:
                seen.append(len(read(path).records))
            except LatentbenchError:
                assert not path.exists()  # finished, and renamed, meanwhile
    child.join()
    assert seen == sorted(seen)
    assert len(read(Store(tmp_path).find("latest")).records) == 150
