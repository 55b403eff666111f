"""The code that measured: the source hash follows the code, and the commit is that of the user's work."""

import subprocess

import pytest

from latentbench.bench.provenance import code as provenance
from latentbench.bench.provenance.code import Code, source_hash


@pytest.mark.parametrize("parent", ["speed", "figures", "plain"])
def test_source_hash_ignores_where_the_package_lies(tmp_path, parent):
    package = tmp_path / parent / "data"
    (package / "figures").mkdir(parents=True)
    (package / "images.py").write_text("a = 1")
    (package / "figures" / "draw.py").write_text("b = 1")
    first = source_hash({"data": package})
    assert first != source_hash({})
    (package / "figures" / "draw.py").write_text("b = 2")
    assert source_hash({"data": package}) == first
    (package / "images.py").write_text("a = 2")
    assert source_hash({"data": package}) != first


def git(folder, *arguments):
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository of a user, with a commit, as the current folder."""
    git(tmp_path, "init", "-q")
    (tmp_path / "model.py").write_text("x = 1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.chdir(tmp_path)
    provenance.code.cache_clear()
    yield tmp_path
    provenance.code.cache_clear()


def test_the_users_commit_names_the_run(project):
    code = provenance.code()
    assert code.project_commit == code.run_commit == git(project, "rev-parse", "HEAD")
    assert code.project_dirty is False
    assert code.commit_label == code.run_commit[:8]


def test_uncommitted_changes_of_the_user_are_recorded(project):
    (project / "model.py").write_text("x = 2")
    code = provenance.code()
    assert code.project_dirty is True
    assert code.commit_label.endswith("+")


def test_without_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    provenance.code.cache_clear()
    assert provenance.code().project_commit is None
    provenance.code.cache_clear()
    assert Code(version="1", commit=None, dirty=None, source="s").commit_label == ""
