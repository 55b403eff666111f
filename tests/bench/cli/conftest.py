"""A folder with a small suite and a cache that has judges and definitions, and one that is measured."""

import shutil

import pytest
from shared.commands import QUICK, SUITE, latentbench


@pytest.fixture(scope="session")
def stored_definitions(tmp_path_factory):
    """A folder of the cache that commands fill: without it, each test's first command would import torch."""
    return tmp_path_factory.mktemp("definitions")


@pytest.fixture(scope="session")
def prepare(judges, stored_definitions):
    def prepare(folder):
        (folder / "cache").mkdir()
        (folder / "cache" / "judges").symlink_to(judges)
        (folder / "cache" / "definitions").symlink_to(stored_definitions)
        (folder / "my.yaml").write_text(SUITE.format(data="digits"))
        return folder

    return prepare


@pytest.fixture
def home(tmp_path, prepare):
    return prepare(tmp_path)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory, prepare):
    """The folder of a command that measured the suite, and the command; tests do not change the folder."""
    folder = prepare(tmp_path_factory.mktemp("measured"))
    done = latentbench(folder, "run", "my.yaml", *QUICK)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture
def measured_home(first_run, tmp_path):
    """A copy of the folder where the suite is measured."""
    shutil.copytree(first_run[0], tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path
