"""The throughput gate on repositories whose commands take a known time."""

import subprocess
import sys

import pytest

from latentbench.bench.compare.policy import shipped
from latentbench.bench.throughput_gate.gate import ORDER, Blocks, Sample, decide, gate, slowdowns

COMMAND = f"{sys.executable} clock.py"


def by_name(comparison):
    return {finding.metric: finding for finding in comparison.findings}


def test_a_regression_is_reported_committed_or_not(repository):
    script = repository / "clock.py"
    script.write_text(script.read_text().replace("0.01 *", "0.0115 *"))
    found = by_name(gate("before", shipped(), command=COMMAND, blocks=3))
    assert found["step_seconds"].verdict == "regressed"
    assert found["step_seconds"].change == pytest.approx(0.15, abs=0.01)
    assert found["encode_seconds"].verdict == "ok"
    worktrees = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True).stdout
    assert len(worktrees.splitlines()) == 1


TURNS_SCRIPT = """
import json, pathlib, random, sys
seconds, turns = %s, pathlib.Path(%r)
def turn():
    # What the machine does to every process: each turn of any of them is 1 %% slower than the one before.
    count = len(turns.read_bytes()) if turns.exists() else 0
    turns.write_bytes(bytes(count + 1))
    print(json.dumps({"step_seconds": seconds * 1.01**count * random.uniform(0.999, 1.001)}), flush=True)
turn()
for line in sys.stdin:
    turn()
"""


def test_turns_cancel_a_drift(repository, tmp_path_factory):
    turns = str(tmp_path_factory.mktemp("drift") / "turns")
    (repository / "clock.py").write_text(TURNS_SCRIPT % (0.010, turns))
    commit = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org", "commit", "-qam", "turns"]
    subprocess.run(commit, cwd=repository, check=True)
    (repository / "clock.py").write_text(TURNS_SCRIPT % (0.011, turns))
    seen = []
    comparison = gate(
        "HEAD", shipped(), command=COMMAND, blocks=3, progress=lambda done, total: seen.append((done, total))
    )
    (found,) = comparison.findings
    assert found.verdict == "regressed"
    assert found.change == pytest.approx(0.1, abs=0.005)
    # Turns are counted: 3 blocks of 6 processes with 12 turns each.
    assert seen[0] == (1, 216)
    assert seen[-1] == (216, 216)


def test_same_code_reports_nothing(repository):
    comparison = gate("before", shipped(), command=COMMAND, blocks=3)
    assert {finding.verdict for finding in comparison.findings} == {"ok"}
    assert "differed from itself by up to" in comparison.notes[0]


def blocks_of(a, again, b, *, others=0.0):
    """Blocks in which the processes take so many seconds each, by block."""

    def samples(seconds):
        return [Sample(({"step_seconds": seconds},), others)] * 2

    return Blocks(
        tuple(
            {"A": samples(x), "A′": samples(y), "B": samples(z)} for x, y, z in zip(a, again, b, strict=True)
        )
    )


def test_a_regression_below_three_percent_does_not_count():
    (finding,) = decide(
        blocks_of([1.0] * 5, [1.0] * 5, [1.02, 1.021, 1.02, 1.019, 1.02]), shipped(), a="", b=""
    ).findings
    assert finding.evidence.low > 0
    assert finding.verdict == "ok"


def test_a_regression_below_the_noise_floor_does_not_count():
    noisy = blocks_of([1.0, 1.0, 1.0, 1.0, 1.0], [1.2, 0.9, 1.15, 0.85, 1.1], [1.13, 1.03, 1.12, 1.0, 1.1])
    (slowdown,) = slowdowns(noisy, alpha=0.05)
    assert slowdown.floor > 0.1
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
    (slowdown,) = slowdowns(Blocks(tuple(drifting)), alpha=0.05)
    assert slowdown.effect.regression == pytest.approx(0.0, abs=1e-12)
    assert slowdown.noise.regression == pytest.approx(0.0, abs=1e-12)


def test_a_shared_machine_is_marked():
    comparison = decide(blocks_of([1.0] * 3, [1.0] * 3, [1.0] * 3, others=0.9), shipped(), a="", b="")
    assert "18 of 18 processes shared the machine with other work" in comparison.notes


@pytest.mark.parametrize(("gain", "better"), [(0.98, False), (0.94, True)])
def test_an_improvement_has_to_exceed_the_threshold_too(gain, better):
    """A gain of 2 % does not count, however certain; neither does a slowdown of 2 %."""
    steady = [gain, gain * 1.001, gain, gain * 0.999, gain]
    (finding,) = decide(blocks_of([1.0] * 5, [1.0] * 5, steady), shipped(), a="", b="").findings
    assert finding.evidence.high < 0
    assert (finding.verdict, finding.is_better) == ("ok", better)
