"""A suite over several data sets: one run, one data set in memory, and nothing measured for a bad one."""

import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared.watchers import Stops

from latentbench.bench.run import suite as suites
from latentbench.bench.run.data_sets import DataSets
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.data.request import DataRequest


class Told(Stops):
    """A watcher that also keeps the stages."""

    def __init__(self, most=None):
        super().__init__(most)
        self.stages = []

    def stage_started(self, name, total, what):
        self.stages.append(name)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    for name in ("bright", "dark"):
        (tmp_path / name).mkdir()
        for number in range(24):
            pixels = draws.integers(0, 255, (12, 12), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path


def run(home, data, watcher=None):
    (home / "my.yaml").write_text(
        f"description: d\ndata: {data}\nanalyses: [likelihood]\n"
        "models: [{family: pca, latent_dim: [2, 4]}]\n"
    )
    options = Options(this_process=True, jobs=1)
    return run_suite(suites.load(str(home / "my.yaml")), Store(home / "results"), options, watcher or Told())


TWO = '["folder:bright?size=8", "folder:dark?size=8"]'


def test_an_interrupted_run_of_two_data_sets_is_resumed(home):
    told = Told(most=3)
    with pytest.raises(KeyboardInterrupt):
        run(home, TWO, told)
    assert [name for name in told.stages if "training" in name] == [
        "training on folder:bright?size=8",
        "training on folder:dark?size=8",
    ]
    again = Told()
    finished = run(home, TWO, again)
    assert (len(again.written), finished.finished) == (1, True)
    assert "training on folder:bright?size=8" not in again.stages
    found = {(record.model.label, record.data.name) for record in finished.records}
    assert found == {
        (f"pca-{width}", f"folder:{data}?size=8") for width in (2, 4) for data in ("bright", "dark")
    }
    assert run(home, TWO, third := Told()).path == finished.path
    assert third.written == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('["folder:bright?size=8", "folder:gone?size=8"]', r"^data folder:gone\?size=8: .*gone"),
        ('["folder:dark?size=8", {folder: ./dark, size: 8}]', "has the same images"),
    ],
)
def test_a_bad_data_set_is_named_before_any_work(home, data, message):
    told = Told()
    with pytest.raises(LatentbenchError, match=message):
        run(home, data, told)
    assert not any("training" in name for name in told.stages)
    assert Store(home / "results").paths() == []


def test_one_data_set_is_released_before_the_next(home):
    requests = [DataRequest(name="digits", limit=limit) for limit in (20, 30)]
    data_sets = DataSets(requests, Path(), Told())
    first = weakref.ref(data_sets.open(requests[0]))
    assert first() is data_sets.open(requests[0])
    data_sets.open(requests[1])
    assert first() is None
    assert len(data_sets.open(requests[0]).test) == 20
