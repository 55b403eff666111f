"""Slurm jobs, run by submitit in this process and as processes of this machine."""

import os
import pickle
import signal
from pathlib import Path

import psutil
import pytest
from shared.commands import wait_until
from shared.units import end, started

from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.protocol import Died, Unit
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.executors.slurm_jobs import JobBatch, SlurmJobs
from latentbench.bench.executors.worker import Setup
from latentbench.data.errors import LatentbenchError

pytest.importorskip("submitit")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


def square(number, context):
    return number**2


def executor(**settings):
    settings = {"name": "slurm", "cluster": "debug", "memory_gb": 1, **settings}
    return SlurmJobs(ExecutorSettings(**settings), Setup.of(1, dict), print)


def test_units_share_as_few_jobs_as_allowed(tmp_path):
    jobs = executor(jobs=2)
    with stopped_at_the_end(jobs):
        found = dict(Crew(jobs, key=str).map(square, range(5)))
    assert found == {number: number**2 for number in range(5)}
    assert jobs._count == 2
    assert list((tmp_path / "cache" / "jobs").glob("*")) == []


def test_a_job_queued_again_skips_what_it_finished(tmp_path):
    units = tuple(pickle.dumps(Unit(str(number), square, number)) for number in range(3))
    batch = JobBatch(Setup.of(1, dict), units, tmp_path)
    batch.result(1).write_bytes(pickle.dumps("kept"))
    again = batch.checkpoint().function
    again()
    assert [pickle.loads(batch.result(number).read_bytes()) for number in range(3)] == [0, "kept", 4]


def test_without_slurm_the_error_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LatentbenchError, match="no command srun; start it on a login node"):
        executor(cluster="slurm")


@pytest.mark.slow
def test_a_job_that_dies_loses_only_the_unit_in_hand(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    jobs = executor(cluster="local", jobs=1)
    with stopped_at_the_end(jobs):
        found = dict(Crew(jobs, key=str).map(end, [0, 3]))
    assert found[0] == 0
    assert isinstance(found[3], Died)


@pytest.mark.slow
def test_a_preempted_job_repeats_only_the_unit_in_hand(monkeypatch, tmp_path):
    """Slurm sends a signal before it takes the node; then submitit queues the job again."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    files = [tmp_path / name for name in ("first", "slow", "last")]
    jobs = executor(cluster="local", jobs=1)
    with stopped_at_the_end(jobs):
        results = Crew(jobs, key=str).map(started, files)
        assert next(results) == (files[0], 1)
        wait_until(files[1].exists)
        (working,) = psutil.Process(int(jobs._jobs[0].handle.job_id)).children()
        working.send_signal(signal.SIGUSR2)
        assert list(results) == [(files[1], 2), (files[2], 1)]
    assert [len(path.read_text().splitlines()) for path in files] == [1, 2, 1]
