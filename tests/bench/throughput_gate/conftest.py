"""A repository whose command says how long it took."""

import subprocess

import pytest

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
