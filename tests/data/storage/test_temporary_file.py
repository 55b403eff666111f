"""Codes of grids lie in a temporary file: they take no main memory, and the file is removed."""

import errno
import os
from multiprocessing.reduction import ForkingPickler

import psutil
import pytest
import torch

from latentbench.analysis.core.test_pass import JoinedCodes
from latentbench.data.storage.temporary_file import room_for_codes, values_in_file
from latentbench.models.protocols import Posterior

VALUES = 10_000_000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    return tmp_path


def own_memory():
    memory = psutil.Process().memory_info()
    return memory.rss - memory.shared


def test_values_in_a_file_take_no_extra_memory(cache):
    before = own_memory()
    values = room_for_codes(VALUES // 100, (4, 5, 5)).fill_(1.5)
    assert own_memory() - before < VALUES
    assert values.sum().item() == VALUES * 1.5
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_codes_of_grids_go_to_a_file_and_vectors_do_not(cache):
    room_for_codes(3, (16,))
    assert not (cache / "scratch").exists()
    room_for_codes(3, (16, 2))
    assert (cache / "scratch").exists()


@pytest.mark.parametrize("problem", [errno.ENOSPC, errno.EROFS])
@pytest.mark.usefixtures("cache")
def test_a_full_disk_leaves_values_in_memory(problem, monkeypatch):
    def refused(*_):
        raise OSError(problem, os.strerror(problem))

    monkeypatch.setattr(os, "posix_fallocate", refused)
    assert torch.equal(values_in_file((2, 3)), torch.zeros(2, 3))


@pytest.mark.usefixtures("cache")
def test_values_in_a_file_travel_to_another_process():
    values = values_in_file((7, 3)).normal_()
    assert torch.equal(ForkingPickler.loads(ForkingPickler.dumps(values)), values)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("kept", [None, 7])
def test_joined_codes_are_those_that_came_first(kept):
    parts = [Posterior(*torch.randn(2, count, 2, 3, 3)) for count in (4, 1, 5)]
    joined = JoinedCodes(10, kept and (lambda shape: kept))
    assert joined.joined is None
    for part in parts:
        joined.add(part)
    for name in ("mean", "log_var"):
        whole = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(getattr(joined.joined, name), whole[:kept])
