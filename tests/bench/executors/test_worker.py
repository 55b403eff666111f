"""A remote worker works only for the same code and with the data of the run."""

import gc
import os
import pickle
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from latentbench.bench.executors.protocol import Unit
from latentbench.bench.executors.worker import Refused, Setup, perform, result_of
from latentbench.data import load
from latentbench.data.errors import LatentbenchError
from latentbench.data.request import DataRequest


def context():
    return {"opened": True}


def unit(task, context):
    return task, context


PACKED = pickle.dumps(Unit("a", unit, 3))


def test_a_worker_returns_the_result():
    assert perform(Setup.of(1, context), PACKED) == (3, {"opened": True})


ALIVE = weakref.WeakSet()


class Data:
    """A data set of which one may be in memory at a time."""

    def __init__(self):
        gc.collect()
        self.others = len(ALIVE)
        ALIVE.add(self)


def others(task, context):
    return context.others


def test_a_worker_holds_one_data_set_at_a_time():
    count = pickle.dumps(Unit("a", others, None))
    assert [perform(Setup.of(1, Data), count) for _ in range(2)] == [0, 0]


def folders(task, context):
    return os.environ["LATENTBENCH_DATA"], os.environ["LATENTBENCH_CACHE"]


def test_a_worker_without_folders_uses_the_drivers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTBENCH_DATA", "data")
    monkeypatch.setenv("LATENTBENCH_CACHE", "/drivers/cache")
    setup = Setup.of(1, context)
    monkeypatch.delenv("LATENTBENCH_DATA")
    monkeypatch.setenv("LATENTBENCH_CACHE", "/own/cache")
    assert perform(setup, pickle.dumps(Unit("a", folders, None))) == (str(tmp_path / "data"), "/own/cache")


def test_a_worker_with_another_version_refuses_by_name():
    refused = perform(replace(Setup.of(1, context), source="other", version="9.9"), b"unreadable")
    assert isinstance(refused, Refused)
    with pytest.raises(LatentbenchError, match=r"node .*has latentbench .* but this run is of 9\.9 \(source"):
        result_of(refused)


def test_a_worker_without_the_data_says_which():
    open_data = partial(load, DataRequest(folder="/nowhere/photos", size=8))
    refused = perform(Setup.of(1, open_data), PACKED)
    assert "node " in refused.reason
    assert "/nowhere/photos: does not exist" in refused.reason


def test_a_worker_with_other_data_refuses_the_fingerprint():
    from latentbench.bench.run.stages.contexts import remote_context

    here = load("digits")
    other = replace(here, test=here.train, train=here.test)
    open_context = remote_context(other, DataRequest(name="digits"), Path(), (), "cpu", "slurm")
    refused = perform(Setup.of(1, open_context), PACKED)
    assert f"has the fingerprint {here.fingerprint[:12]} here and {other.fingerprint[:12]}" in refused.reason
