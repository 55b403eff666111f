"""Baselines are set with a reason, found again, and refused when their run has changed."""

import json
import multiprocessing

import pytest

from latentbench.bench.store.baseline import FILE, find_baseline, read_all, remove_baseline, set_baseline
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results")
    store.prepare()
    return store


@pytest.fixture
def run(store, make_record):
    with store.writer("my", None) as writer:
        writer.append(make_record(mse=0.1))
        return read(writer.finish())


def test_a_baseline_is_kept_with_its_reason_and_found(store, run):
    set_baseline(store, "main", run, " the first release ")
    assert read_all(store)["main"].why == "the first release"
    assert find_baseline(store, "main") == run
    assert json.loads((store.root / FILE).read_text())["baselines"]["main"]["run"] == run.stem


def test_the_file_is_sorted_so_that_a_change_is_a_small_diff(store, run):
    for name in ("b", "a", "c", "b"):
        set_baseline(store, name, run, "why not")
    assert list(json.loads((store.root / FILE).read_text())["baselines"]) == ["a", "b", "c"]


def test_a_run_changed_after_it_was_set_is_refused(store, run):
    set_baseline(store, "main", run, "good")
    run.path.write_text(run.path.read_text().replace("0.1", "0.2"))
    with pytest.raises(
        LatentbenchError, match=r"baseline 'main': .* was changed after it was set .* git checkout"
    ):
        find_baseline(store, "main")
    run.path.unlink()
    with pytest.raises(LatentbenchError, match=r"is not there; restore the file"):
        find_baseline(store, "main")


def test_baseline_needs_a_finished_own_run_and_a_reason(store, run, make_record, tmp_path):
    with store.writer("my", None) as writer:
        writer.append(make_record(mse=0.1))
        with pytest.raises(LatentbenchError, match="must be a finished run of"):
            set_baseline(store, "main", read(writer.path), "soon")
    with pytest.raises(LatentbenchError, match="must be a finished run of"):
        set_baseline(Store(tmp_path), "main", run, "elsewhere")
    with pytest.raises(LatentbenchError, match="--why must state why this run is the baseline"):
        set_baseline(store, "main", run, "  ")


def test_missing_name_error_lists_the_names(store, run):
    with pytest.raises(
        LatentbenchError, match=r"no baselines in .*; set one with: latentbench baseline set main"
    ):
        find_baseline(store, "main")
    set_baseline(store, "main", run, "good")
    with pytest.raises(LatentbenchError, match="unknown baseline 'mian'; did you mean 'main'"):
        find_baseline(store, "mian")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "baselines.json: .*Invalid JSON.*git checkout"),
        ('{"schema_version": 2}', "schema_version must be less than or equal to 1, got 2"),
        ('{"baselines": {"main": {"run": "x"}}}', "the key 'baselines.main.suite' is missing"),
    ],
)
def test_a_file_edited_into_nonsense_is_named_with_its_key(store, content, message):
    (store.root / FILE).write_text(content)
    with pytest.raises(LatentbenchError, match=message):
        read_all(store)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x1b[31m", "main ", "\u202emain", "x" * 101])
def test_a_name_that_cannot_be_shown_is_refused(store, run, name):
    with pytest.raises(LatentbenchError, match=r"baseline name .*: must "):
        set_baseline(store, name, run, "why not")
    assert read_all(store) == {}


def test_removing_a_baseline_keeps_the_run_and_the_others(store, run):
    set_baseline(store, "main", run, "good")
    set_baseline(store, "old", run, "also good")
    assert remove_baseline(store, "old").run == run.stem
    assert list(read_all(store)) == ["main"]
    assert run.path.is_file()
    with pytest.raises(LatentbenchError, match="unknown baseline 'old'"):
        remove_baseline(store, "old")


def set_many(root, path, prefix):
    for index in range(10):
        set_baseline(Store(root), f"{prefix}{index}", read(path), "at once")


def test_two_processes_setting_baselines_lose_none(store, run):
    spawn = multiprocessing.get_context("fork")
    children = [spawn.Process(target=set_many, args=(store.root, run.path, name)) for name in "ab"]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert len(read_all(store)) == 20
