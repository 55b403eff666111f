"""Slurm jobs, run by submitit in this process and as processes of this machine."""

import os
import pickle
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import psutil
import pytest
from shared.commands import wait_until
from shared.units import end, started

from latentbench.bench.executors import engines, slurm_jobs
from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.protocol import Died, Unit
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.executors.slurm_jobs import SlurmJobs
from latentbench.bench.executors.worker import JobBatch, Setup
from latentbench.data.errors import LatentbenchError

submitit = pytest.importorskip("submitit")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


def square(number, context):
    return number**2


def executor(note=print, **settings):
    settings = {"name": "slurm", "cluster": "debug", "memory_gb": 1, **settings}
    return SlurmJobs(ExecutorSettings(**settings), Setup.of(1, dict), note)


def with_one_unit(note=print):
    """Jobs of a Slurm, before its first one is submitted."""
    jobs = executor(note, cluster="slurm", jobs=1)
    jobs.submit(Unit("a", square, 2))
    return jobs


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


COMMANDS = {
    "srun": "exit 0",
    "sbatch": 'grep -h "^#SBATCH" "$@" >> "$(dirname "$0")/asked"; echo Submitted batch job 7',
    "squeue": 's=$(cat "$(dirname "$0")/state"); [ "$s" ] || { echo is down >&2; exit 1; }; echo "7 $s"',
    "scancel": 'echo "$@" >> "$(dirname "$0")/cancelled"',
}
"""Slurm's commands that submitit calls; job 7 is in the state that a file names."""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, script in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(engines, "STATE_SECONDS", 0)
    monkeypatch.setattr(slurm_jobs, "RETRY_SECONDS", 0)
    return folder


def test_a_job_that_stays_pre_empted_is_given_up(slurm, monkeypatch):
    """Where Slurm cancels pre-empted jobs, none is queued again."""
    monkeypatch.setattr(engines, "LOST_SECONDS", 0)
    (slurm / "state").write_text("PREEMPTED")
    jobs = with_one_unit()
    jobs.submit(Unit("b", square, 3))
    ((key, died),) = jobs.finished()
    assert (key, died.reason, died.may_succeed_elsewhere) == ("a", "job 7 ended as PREEMPTED", True)
    assert (slurm / "cancelled").read_text().split() == ["7"]
    assert [unit.key for unit in jobs._waiting] == ["b"]


def test_a_pre_empted_job_is_waited_for(slurm):
    """The time in which it is given up begins anew each time that it is pre-empted."""
    jobs = with_one_unit()
    for state in ("PREEMPTED", "PENDING"):
        (slurm / "state").write_text(state)
        assert jobs.finished() == []
        assert ("7" in jobs._queue._preempted) == (state == "PREEMPTED")
    assert not (slurm / "cancelled").exists()


def test_memory_that_runs_out_is_tried_again_and_recorded(slurm):
    (slurm / "state").write_text("OUT_OF_MEMORY")
    jobs, notes = executor(cluster="slurm", jobs=1), []
    with stopped_at_the_end(jobs):
        died = Crew(jobs, key=str, note=notes.append).alone(square, 2)
    assert (died.reason, died.out_of_memory) == ("job 7 ended as OUT_OF_MEMORY", True)
    assert len(notes) == 2


@pytest.fixture
def _interrupts():
    """Handle SIGINT as a program does; worker processes of pytest ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
def test_an_interrupted_driver_cancels_its_jobs(slurm):
    """The user presses Ctrl-C while one job runs."""
    (slurm / "state").write_text("RUNNING")
    jobs = executor(cluster="slurm", jobs=1)
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), stopped_at_the_end(jobs):
        list(Crew(jobs, key=str).map(square, [2, 3]))
    assert (slurm / "cancelled").read_text().split() == ["7"]


def test_wall_time_follows_the_number_of_cases(slurm):
    """Two stacks of three cases share a job."""
    (slurm / "state").write_text("PENDING")
    jobs = executor(cluster="slurm", jobs=1, minutes_per_case=2)
    for key in "ab":
        jobs.submit(Unit(key, square, 2, cases=3))
    assert jobs.finished() == []
    assert "#SBATCH --time=17" in (slurm / "asked").read_text().splitlines()


def test_jobs_in_the_queue_are_told_once(slurm, monkeypatch):
    monkeypatch.setattr(slurm_jobs, "PATIENCE_SECONDS", 0)
    (slurm / "state").write_text("PENDING")
    notes = []
    jobs = with_one_unit(notes.append)
    assert jobs.finished() == jobs.finished() == []
    assert notes == ["1 of 1 Slurm jobs wait in the queue"]


def test_a_job_that_slurm_has_forgotten_has_ended(slurm):
    (slurm / "state").write_text("RUNNING")
    jobs = with_one_unit()
    assert jobs.finished() == []
    (slurm / "squeue").write_text("#!/bin/sh\nexit 0\n")
    ((key, died),) = jobs.finished()
    assert (key, died.reason) == ("a", "job 7 ended as FORGOTTEN")


def test_a_silent_slurm_is_waited_for_and_named(slurm, monkeypatch):
    monkeypatch.setattr(slurm_jobs, "PATIENCE_SECONDS", 0)
    notes = []
    jobs = with_one_unit(notes.append)
    (slurm / "state").write_text("")
    assert jobs.finished() == jobs.finished() == []
    assert notes == ["the run waits for Slurm, which says: is down"]
    (slurm / "state").write_text("NODE_FAIL")
    ((_, died),) = jobs.finished()
    assert died.reason == "job 7 ended as NODE_FAIL"


def test_a_job_that_slurm_refuses_is_submitted_later(slurm, monkeypatch):
    """The first job of a run was taken, so that the refusal of the next one will pass."""
    monkeypatch.setattr(slurm_jobs, "PATIENCE_SECONDS", 0)
    (slurm / "state").write_text("RUNNING")
    notes = []
    jobs = with_one_unit(notes.append)
    assert jobs.finished() == []
    sbatch = (slurm / "sbatch").read_text()
    (slurm / "sbatch").write_text("#!/bin/sh\necho no more jobs >&2; exit 1\n")
    jobs.submit(Unit("b", square, 3))
    assert jobs.finished() == []
    assert [unit.key for unit in jobs._waiting] == ["b"]
    (note,) = notes
    assert note.startswith("the run waits for Slurm, which says: ")
    assert "no more jobs" in note
    (slurm / "sbatch").write_text(sbatch)
    assert jobs.finished() == []
    assert [next(iter(job.left.values())).key for job in jobs._jobs] == ["a", "b"]


def test_a_first_job_that_slurm_refuses_is_the_error(slurm):
    (slurm / "sbatch").write_text("#!/bin/sh\necho no such partition >&2; exit 1\n")
    jobs = with_one_unit()
    with pytest.raises(LatentbenchError, match=r"cannot submit a job: .*no such partition"):
        jobs.finished()


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_kind_of_job_that_slurm_never_takes_stops(slurm, exclusive):
    """Timings ask for other nodes than the jobs that were taken before, and may name what no node has."""
    (slurm / "state").write_text("RUNNING")
    jobs = with_one_unit()
    assert jobs.finished() == []
    (slurm / "sbatch").write_text("#!/bin/sh\necho Invalid feature specification >&2; exit 1\n")
    jobs.submit(Unit("b", square, 3, exclusive=exclusive))
    assert jobs.finished() == []  # the running job may be in the way
    (slurm / "state").write_text("COMPLETED")
    assert [key for key, _ in jobs.finished()] == ["a"]
    (slurm / "state").write_text("")  # Slurm is down
    assert jobs.finished() == []
    (slurm / "state").write_text("COMPLETED")
    if not exclusive:
        assert jobs.finished() == []
        return
    with pytest.raises(LatentbenchError, match=r"cannot submit a job: .*Invalid feature"):
        jobs.finished()


def test_other_lines_of_squeue_are_no_states(slurm):
    """Sites wrap the command, and a user may have arrays."""
    (slurm / "state").write_text("RUNNING")
    jobs = with_one_unit()
    assert jobs.finished() == []
    (slurm / "squeue").write_text(
        "#!/bin/sh\necho Maintenance on Monday; echo; echo '  7 NODE_FAIL '; echo 7_1 RUNNING\n"
    )
    ((_, died),) = jobs.finished()
    assert died.reason == "job 7 ended as NODE_FAIL"


def test_a_second_queue_knows_no_jobs_of_the_first(slurm):
    """submitit has one watcher for all of a process."""
    (slurm / "state").write_text("RUNNING")
    first = executor(cluster="slurm", jobs=1)
    first.submit(Unit("a", square, 2))
    assert first.finished() == []
    executor(cluster="slurm", jobs=1)
    (slurm / "state").write_text("NODE_FAIL")
    ((_, died),) = first.finished()
    assert died.reason == "job 7 ended as NODE_FAIL"


def test_jobs_are_seen_whatever_squeue_shows_a_user(slurm, monkeypatch):
    monkeypatch.setenv("SQUEUE_PARTITION", "gpu")
    (slurm / "squeue").write_text(
        '#!/bin/sh\ncase " $* " in *" --all "*) [ "$SQUEUE_PARTITION" ] || echo 7 RUNNING; esac\n'
    )
    jobs = with_one_unit()
    assert jobs.finished() == []
    assert len(jobs._jobs) == 1


def slurm_answers():
    return bool(shutil.which("squeue")) and not subprocess.run(["squeue"], capture_output=True).returncode


@pytest.mark.slow
@pytest.mark.skipif(not slurm_answers(), reason="no Slurm here")
def test_a_real_slurm_runs_units_and_tells_of_deaths(monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    jobs = executor(cluster="slurm", jobs=2)
    with stopped_at_the_end(jobs):
        found = dict(Crew(jobs, key=str).map(end, [0, 3]))
    assert found[0] == 0
    assert "ended as FAILED: " in found[3].reason
    assert capfd.readouterr() == ("", "")
