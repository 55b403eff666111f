"""The reference store is found, and a copy of a run is a sound run that takes less space."""

import numpy as np
import pytest

from latentbench.bench.provenance.environment import environment_hash
from latentbench.bench.store.baseline import find_baseline, set_baseline
from latentbench.bench.store.reference import copy_run, find_reference, reference_store
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.bench.store.verify import verify
from latentbench.data.errors import LatentbenchError

ENVIRONMENT = {"cpu": "abacus"}


@pytest.fixture
def run(tmp_path, make_record):
    store = Store(tmp_path / "results")
    store.prepare()
    store.remember_environment(environment_hash(ENVIRONMENT), ENVIRONMENT)
    with store.writer("my", None) as writer:
        for seed in range(2):
            record = make_record(mse=0.1, seed=seed, environment=environment_hash(ENVIRONMENT))
            record = record.model_copy(update={"run": writer.run_id})
            writer.append(record, {"history/loss": np.arange(999.0), "examples/mse": np.arange(3.0)})
        return read(writer.finish())


@pytest.mark.parametrize(
    ("arrays", "names"),
    [("none", set()), ("examples", {"examples/mse"}), ("all", {"examples/mse", "history/loss"})],
)
def test_copy_keeps_the_arrays_asked_for(run, tmp_path, arrays, names):
    target = Store(tmp_path / "copy")
    copy = read(copy_run(run, target, arrays=arrays))
    assert verify(target).ok
    assert [set(copy.arrays(record)) for record in copy.records] == [names, names]
    without_arrays = [
        [record.model_copy(update={"arrays": None}) for record in each.records] for each in (run, copy)
    ]
    assert without_arrays[0] == without_arrays[1]


def test_copy_refuses_a_run_the_target_has(run, tmp_path):
    copy_run(run, Store(tmp_path / "copy"))
    with pytest.raises(LatentbenchError, match="already exists"):
        copy_run(run, Store(tmp_path / "copy"))


def test_copy_refuses_a_damaged_run(run, tmp_path):
    run.path.write_text(run.path.read_text().replace("0.1", "0.2"))
    with pytest.raises(LatentbenchError, match="only a finished and undamaged run"):
        copy_run(read(run.path), Store(tmp_path / "copy"))


def test_reference_store_of_the_results_folder_wins(run, tmp_path):
    copy = copy_run(run, Store(tmp_path / "mine" / "reference"))
    assert find_reference("reference:my", tmp_path / "mine") == copy
    assert reference_store(tmp_path / "nothing here").find("mnist")  # the checkout's


def test_unknown_reference_suite_lists_the_known(run, tmp_path):
    copy_run(run, Store(tmp_path / "mine" / "reference"))
    with pytest.raises(LatentbenchError, match="has no such suite; choose reference:my"):
        find_reference("reference:other", tmp_path / "mine")


def test_missing_reference_store_says_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "latentbench.bench.store.reference.__file__", str(tmp_path / "a" / "b" / "c" / "d.py")
    )
    with pytest.raises(LatentbenchError, match="the folder results/reference of a source checkout"):
        find_reference("reference:mnist", tmp_path / "results")


def test_baseline_of_the_reference_store_is_a_default(run, tmp_path):
    mine, shipped = Store(tmp_path / "mine"), Store(tmp_path / "mine" / "reference")
    copy = read(copy_run(run, shipped))
    set_baseline(shipped, "main", copy, "shipped")
    assert find_baseline(mine, "main") == copy
    own = read(copy_run(run, mine))
    set_baseline(mine, "main", own, "my own")
    assert find_baseline(mine, "main") == own
