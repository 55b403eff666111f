"""Mistakes are one line, and no worktree is left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from latentbench.bench.compare.policy import shipped
from latentbench.bench.throughput_gate.gate import gate
from latentbench.data.errors import LatentbenchError

COMMAND = f"{sys.executable} clock.py"


def worktrees():
    listed = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True).stdout
    return len(listed.splitlines())


@pytest.mark.parametrize(
    ("against", "command", "message"),
    [
        ("before", f"{sys.executable} absent.py", "failed with exit 2: .*absent.py"),
        ("before", f"{sys.executable} -c print(1)", "must print a JSON object of seconds by name, got '1'"),
        ("before", 'echo {"step_seconds":-1}', "must print a JSON object of seconds"),
        ("nowhere", COMMAND, "unknown revision 'nowhere'"),
        ("before", "no-such-program --now", "no-such-program --now cannot be run: No such file or directory"),
        ("before", "'", "--command .*: No closing quotation"),
        ("before", " ", "--command is empty"),
        ("before", None, "not latentbench: name the program to time with --command"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_worktree(repository, against, command, message):
    with pytest.raises(LatentbenchError, match=message):
        gate(against, shipped(), command=command, blocks=3)
    assert worktrees() == 1


def test_outside_of_a_repository_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(LatentbenchError, match="not a git repository"):
        gate("main", shipped(), command="true")


GATE = """
from latentbench.bench.compare.policy import shipped
from latentbench.bench.throughput_gate.gate import gate
gate("before", shipped(), command="sleep 1000", blocks=3)
"""


def test_sigterm_leaves_no_worktree_and_no_process(repository, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("tmp")
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen([sys.executable, "-c", GATE], env=environment)
    while worktrees() < 3:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)  # the command has started, or is about to
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert worktrees() == 1
    assert list(temporary.iterdir()) == []
