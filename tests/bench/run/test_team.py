"""The objects that travel between driver and workers, and the result of a shared pass over test images."""

from collections import Counter

import pytest
import torch
from shared.photos import PRIME, write_photos
from shared.watchers import Silent

from latentbench.analysis.core.data_context import DataContext
from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.provenance.environment import environment
from latentbench.bench.run import job, team
from latentbench.bench.run import suite as suites
from latentbench.bench.run.journal import TRAINING, JournalStep
from latentbench.bench.run.resumable import Origin
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.run.stages.progress import Progress
from latentbench.bench.run.team import Parcel, work
from latentbench.bench.store.store import Store
from latentbench.data import load
from latentbench.data.errors import LatentbenchError
from latentbench.models import zoo
from latentbench.models.checkpoint import FILES


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def run(home):
    """`run("one", shards=2)` runs the suite into the store `one`; returns the records."""

    def run(store, watcher=None, **options):
        loaded = suites.load(str(home / "my.yaml"))
        options = Options(device="cpu", **options)
        return run_suite(loaded, Store(home / store), options, watcher or Silent()).records

    return run


class Counting(Silent):
    """A watcher that counts what advances in each stage."""

    def __init__(self):
        self.stage, self.steps = "", Counter()

    def stage_started(self, name, total, what):
        self.stage = name

    def stage_advanced(self, label):
        self.steps[self.stage] += 1

    @property
    def shards(self):
        """The shards that workers returned."""
        return sum(count for name, count in self.steps.items() if name.startswith("encoding and decoding"))


class Interrupting(Silent):
    """A watcher that ends the driver when two steps are done."""

    left = 2

    def stage_advanced(self, label):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def write_suite(home, data, models, analyses):
    (home / "my.yaml").write_text(
        f"description: x\ndata: {data}\nanalyses: [{analyses}]\nrecipe: {{epochs: 1}}\nmodels: [{models}]\n"
    )


def values(record):
    return [(metric.name, metric.value, metric.se, metric.n) for metric in record.metrics]


@pytest.fixture
def photos(home):
    """A prime number of images of 128 pixels, which are three batches."""
    write_photos(home / "photos")
    return "{folder: photos, size: 128, channels: 3}"


def test_shards_of_a_prime_number_of_images_give_the_whole(home, photos, run):
    write_suite(home, photos, "{family: pca, latent_dim: 4}", "reconstruction, code")
    whole, two, three = (
        run(f"shards{k}", executor=ExecutorSettings(shards=k), this_process=True) for k in (1, 2, 3)
    )
    assert whole[0].metric("mse").n == PRIME
    assert values(whole[0]) == values(two[0]) == values(three[0])


def test_shards_are_a_stage_before_measuring(home, photos, run):
    write_suite(home, photos, "{family: pca, latent_dim: 4}", "reconstruction")
    counting = Counting()
    run("results", counting, executor=ExecutorSettings(shards=2), this_process=True)
    assert counting.steps["encoding and decoding"] == 2
    assert counting.steps["measuring"] == 1


@pytest.fixture
def two_data_sets(home):
    """A suite on digits, which are one batch, and on larger photographs, which are three."""
    write_photos(home / "photos")
    write_suite(
        home,
        "[digits, {folder: photos, size: 128, channels: 3}]",
        "{family: pca, latent_dim: 4}, {family: ae, latent_dim: 2, hidden: 16}",
        "reconstruction, code, likelihood",
    )


SLURM = {"name": "slurm", "cluster": "debug", "memory_gb": 1}


@pytest.mark.slow
def test_each_of_two_data_sets_has_the_values_of_one_process(two_data_sets, run):
    pytest.importorskip("submitit")
    whole = run("whole", this_process=True)
    assert {record.status for record in whole} == {"ok"}
    assert [record.metric("mse").n for record in whole] == [293, 293, PRIME, PRIME]
    for number, (executor, options) in enumerate(
        (
            ({"shards": 2}, {"this_process": True}),
            ({"shards": 3}, {"jobs": 2}),
            ({**SLURM, "shards": 3}, {}),
        )
    ):
        counting = Counting()
        settings = ExecutorSettings(**executor)
        found = run(f"found{number}", counting, use_cache=False, executor=settings, **options)
        assert [record.data.name for record in found] == [record.data.name for record in whole]
        assert list(map(values, found)) == list(map(values, whole))
        assert counting.shards == 2 * settings.shards  # the digits are one batch


def test_the_number_of_jobs_is_refused_where_it_has_no_effect(home, run):
    write_suite(home, "digits", "{family: pca, latent_dim: 2}", "likelihood")
    with pytest.raises(LatentbenchError, match="--jobs has no effect here: the executor ray"):
        run("results", executor=ExecutorSettings(name="ray"), jobs=2)


def test_slurm_jobs_give_the_records_of_this_machine(home, run):
    """Submitit's debug executor runs jobs in this process, each with the steps that a node would do."""
    pytest.importorskip("submitit")
    write_suite(home, "digits", "{family: pca, latent_dim: [2, 3]}", "likelihood, code")
    there = run("slurm", executor=ExecutorSettings(name="slurm", cluster="debug", memory_gb=1))
    here = run("local", this_process=True)
    assert list(map(values, there)) == list(map(values, here))
    assert [record.weights for record in there] == [record.weights for record in here]
    assert [len(record.nodes) for record in there] == [1, 1]
    assert [record.nodes for record in here] == [(), ()]
    assert not list((home / "cache" / "shared").iterdir())
    again = run("slurm", executor=ExecutorSettings(name="slurm", cluster="debug", memory_gb=1))
    assert again == there


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"gpus": 1}, 20e9),
        ({"gpus": 1, "memory_gb": 100}, 20e9),
        ({"gpus": 1, "gpu_memory_gb": 10}, 5e9),
        ({"memory_gb": 6}, 3e9),
    ],
)
def test_a_stack_may_use_half_of_a_workers_memory(home, run, monkeypatch, stated, expected):
    """A worker tells the memory of its GPU, here of 40 GB, unless the settings do."""
    pytest.importorskip("submitit")
    found, grouped = {**environment(torch.device("cpu")), "gpu_memory_bytes": 40 * 10**9}, []

    def stacks(*arguments, memory_bytes, largest):
        grouped.append(memory_bytes)
        return zoo.stacks(*arguments, memory_bytes=memory_bytes, largest=largest)

    monkeypatch.setattr(team, "environment", lambda device: found)
    monkeypatch.setattr(job, "stacks", stacks)
    write_suite(home, "digits", "{family: ae, latent_dim: [2, 3], hidden: 16}", "code")
    run("results", executor=ExecutorSettings(name="slurm", cluster="debug", **stated), stack=True)
    assert grouped == [expected]


def test_an_ended_driver_resumes_with_its_workers_steps(home):
    pytest.importorskip("submitit")
    write_suite(home, "digits", "{family: ae, latent_dim: [2, 3], hidden: 16}", "likelihood")
    loaded, store = suites.load(str(home / "my.yaml")), Store(home / "results")
    slurm = ExecutorSettings(name="slurm", cluster="debug", memory_gb=1)
    options = Options(device="cpu", executor=slurm, use_cache=False)
    with pytest.raises(KeyboardInterrupt):
        run_suite(loaded, store, options, Interrupting())
    weights = sorted((home / "cache" / "checkpoints").glob("*/weights.safetensors"))
    trained = [path.stat().st_mtime_ns for path in weights]
    done = run_suite(loaded, store, options, Silent())
    assert [record.status for record in done.records] == ["ok", "ok"]
    assert [path.stat().st_mtime_ns for path in weights] == trained
    assert len(trained) == 2


def test_weights_travel_only_to_a_side_that_lacks_them(home, run):
    """The driver does not receive back the weights that it sent to a worker with a separate cache."""
    write_suite(home, "digits", "{family: pca, latent_dim: [2, 3]}", "likelihood")
    run("results", this_process=True)
    folders = [card.parent for card in (home / "cache" / "checkpoints").glob("*/model.json")]
    steps = [JournalStep(name=TRAINING, started="now", checkpoint=folder) for folder in folders]
    cases = [Progress(None, {TRAINING: step}) for step in steps]
    sent, trained = [
        {folder.name: {name: (folder / name).read_bytes() for name in FILES}} for folder in folders
    ]
    parcel = Parcel(cases, Origin("here", "source"), "mark", sent)
    done = work(parcel, DataContext(load("digits")), stage=lambda progresses, *_, **__: progresses)
    assert done.weights == trained
