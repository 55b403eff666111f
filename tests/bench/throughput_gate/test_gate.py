"""The throughput gate on repositories whose commands take a known time."""

import json
import subprocess
import sys

import pytest

from latentbench.bench.compare.policy import shipped
from latentbench.bench.throughput_gate import timed_workload
from latentbench.bench.throughput_gate.gate import ORDER, Blocks, Sample, decide, gate, losses
from latentbench.data.errors import LatentbenchError

SCRIPT = """
import json, random
random.seed()
print("warming up")
print(json.dumps({"step_seconds": %s * random.uniform(0.999, 1.001), "encode_seconds": 0.002}))
"""


def git(folder, *arguments):
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit, tagged `before`, in which a step takes 10 ms."""
    git(tmp_path, "init")
    (tmp_path / "clock.py").write_text(SCRIPT % 0.010)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "a step takes 10 ms")
    git(tmp_path, "tag", "before")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMAND = f"{sys.executable} clock.py"


def by_name(comparison):
    return {finding.metric: finding for finding in comparison.findings}


def test_a_loss_is_caught_and_named_committed_or_not(repository):
    (repository / "clock.py").write_text(SCRIPT % 0.0115)
    found = by_name(gate("before", shipped(), command=COMMAND, blocks=3))
    assert found["step_seconds"].verdict == "regressed"
    assert found["step_seconds"].change == pytest.approx(0.15, abs=0.01)
    assert found["encode_seconds"].verdict == "ok"
    worktrees = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True).stdout
    assert len(worktrees.splitlines()) == 1


TURNS_SCRIPT = """
import json, sys, time
seconds = %s
def turn():
    # What the machine does to everyone: it gets slower and slower, threefold within a block.
    drift = 3 ** (time.monotonic() %% 1000 / %s)
    time.sleep(0.01)
    print(json.dumps({"step_seconds": seconds * drift}), flush=True)
turn()
for line in sys.stdin:
    turn()
"""


def test_turns_cancel_a_drift(repository):
    (repository / "clock.py").write_text(TURNS_SCRIPT % (0.010, 3.0))
    git(repository, "commit", "-am", "turns")
    (repository / "clock.py").write_text(TURNS_SCRIPT % (0.011, 3.0))
    (found,) = gate("HEAD", shipped(), command=COMMAND, blocks=3).findings
    assert found.verdict == "regressed"
    assert found.change == pytest.approx(0.1, abs=0.03)


def test_a_process_that_fails_at_a_later_turn_is_said(repository):
    (repository / "clock.py").write_text(
        'import sys\nprint(\'{"step_seconds": 1}\', flush=True)\nsys.stdin.readline()\nsys.exit("no more")'
    )
    with pytest.raises(LatentbenchError, match="failed with exit 1: no more"):
        gate("before", shipped(), command=COMMAND, blocks=2)


def test_the_same_code_is_silent(repository):
    comparison = gate("before", shipped(), command=COMMAND, blocks=3)
    assert {finding.verdict for finding in comparison.findings} == {"ok"}
    assert "differed from itself by up to" in comparison.notes[0]


@pytest.mark.parametrize(
    ("against", "command", "message"),
    [
        ("before", f"{sys.executable} absent.py", "failed with exit 2: .*absent.py"),
        ("before", f"{sys.executable} -c print(1)", "must print a JSON object of seconds by name, got '1'"),
        ("before", 'echo {"step_seconds":-1}', "must print a JSON object of seconds"),
        ("nowhere", COMMAND, "unknown revision 'nowhere'"),
        ("before", None, "not latentbench: say what to time with --command"),
    ],
)
def test_a_mistake_is_said_and_no_worktree_stays(repository, against, command, message):
    with pytest.raises(LatentbenchError, match=message):
        gate(against, shipped(), command=command, blocks=3)
    worktrees = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True).stdout
    assert len(worktrees.splitlines()) == 1


def test_outside_of_a_repository_it_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(LatentbenchError, match="not a git repository"):
        gate("main", shipped(), command="true")


def blocks_of(a, again, b, *, others=0.0):
    """Blocks in which the processes take so many seconds each, by block."""

    def samples(seconds):
        return [Sample(({"step_seconds": seconds},), others)] * 2

    return Blocks(
        tuple(
            {"A": samples(x), "A′": samples(y), "B": samples(z)} for x, y, z in zip(a, again, b, strict=True)
        )
    )


def test_a_loss_below_three_percent_does_not_count_however_certain():
    (finding,) = decide(
        blocks_of([1.0] * 5, [1.0] * 5, [1.02, 1.021, 1.02, 1.019, 1.02]), shipped(), a="", b=""
    ).findings
    assert finding.evidence.low > 0
    assert finding.verdict == "ok"


def test_a_loss_below_what_the_same_code_does_to_itself_does_not_count():
    noisy = blocks_of([1.0, 1.0, 1.0, 1.0, 1.0], [1.2, 0.9, 1.15, 0.85, 1.1], [1.13, 1.03, 1.12, 1.0, 1.1])
    (loss,) = losses(noisy, alpha=0.05)
    assert loss.floor > 0.1
    (finding,) = decide(noisy, shipped(), a="", b="").findings
    assert finding.verdict != "regressed"


def test_a_steady_drift_cancels_within_a_block():
    clock, drifting = 0, []
    for _ in range(5):
        block = {"A": [], "A′": [], "B": []}
        for name in ORDER:
            block[name].append(Sample(({"step_seconds": 1.02**clock},), 0.0))
            clock += 1
        drifting.append(block)
    (loss,) = losses(Blocks(tuple(drifting)), alpha=0.05)
    assert loss.loss.harm == pytest.approx(0.0, abs=1e-12)
    assert loss.noise.harm == pytest.approx(0.0, abs=1e-12)


def test_a_shared_machine_is_marked():
    comparison = decide(blocks_of([1.0] * 3, [1.0] * 3, [1.0] * 3, others=0.9), shipped(), a="", b="")
    assert "18 of 18 processes shared the machine with other work" in comparison.notes


def test_the_stopwatch_times_our_own_model_in_a_process_of_its_own():
    command = [sys.executable, "-P", timed_workload.__file__]
    done = subprocess.run(command, input="\n\n", capture_output=True, text=True, check=True)
    turns = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(turns) == 3
    seconds = turns[-1]
    assert set(seconds) == {"encode_seconds", "decode_seconds", "train_step_seconds"}
    assert seconds["train_step_seconds"] > seconds["encode_seconds"] > 0


def test_the_stopwatch_can_be_slowed_down(monkeypatch):
    monkeypatch.setattr(timed_workload, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(timed_workload, "SECONDS", 0.0)
    usual = timed_workload.median_seconds(lambda: sum(range(20_000)))
    assert timed_workload.median_seconds(lambda: sum(range(20_000)), slower=3.0) > 2 * usual
