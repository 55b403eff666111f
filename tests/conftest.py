"""Slow work that is done once: training judges for all worker processes, and a garbage collection."""

import gc
import os

import pytest
from filelock import FileLock

from latentbench.analysis.features.stored_judges import cache_folder, load_judges
from latentbench.data import load


def pytest_collection_finish():
    """Leave what test modules and libraries made out of every search for garbage: it stays to the end."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    """Let the interpreter end as usual."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that every worker process of this test run sees."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def judges(shared_folder):
    """A folder with the judges of `digits`: a cache whose `judges` is a link to it need not train them."""
    with pytest.MonkeyPatch.context() as patch, FileLock(shared_folder / "judges.lock"):
        patch.setenv("LATENTBENCH_CACHE", str(shared_folder / "judged"))
        load_judges(load("digits"))
        return cache_folder()
