"""A suite from its file to its records, with models that end their process and runs that are killed."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from shared.watchers import Silent

from latentbench.analysis.features.judge import JUDGES, JudgeRecipe
from latentbench.bench.run import suite as suites
from latentbench.bench.run.case import cases
from latentbench.bench.run.journal import SUFFIX, TRAINING, Journal, JournalStep
from latentbench.bench.run.resumable import Origin
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.records.record import JudgeReference
from latentbench.bench.store.store import Store
from latentbench.data import load as load_data
from latentbench.data.storage.cache import cache_root

MODULE = """
import os, signal
import torch

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.d = torch.nn.Linear(64, 4), torch.nn.Linear(4, 64)
    def encode(self, x):
        return self.e(x.flatten(1))
    def decode(self, z):
        return torch.sigmoid(self.d(z)).view(-1, 1, 8, 8)

class Ends(Tiny):
    def __init__(self, by):
        super().__init__()
        self.by = by
    def encode(self, x):
        if len(x) > 2:  # not in the trial
            os.kill(os.getpid(), self.by)
        return super().encode(x)
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("ending_model", None)


class Told(Silent):
    """A watcher that keeps the notes, and the stages with the number of threads of their steps."""

    def __init__(self):
        self.notes, self.stages = [], {}

    def note(self, message):
        self.notes.append(message)

    def stage_started(self, name, total, what):
        self.stages[name] = set()

    def stage_advanced(self, label):
        self.stages[list(self.stages)[-1]].add(torch.get_num_threads())


def write_suite(home, models, analyses="likelihood"):
    (home / "my.yaml").write_text(
        f"description: x\ndata: digits\nanalyses: [{analyses}]\nrecipe: {{epochs: 1}}\nmodels: [{models}]\n"
    )
    return str(home / "my.yaml")


def run(home, models, *, analyses="likelihood", watcher=None, **options):
    """Run a suite in this process, or in worker processes if their number is given as `jobs`."""
    loaded = suites.load(write_suite(home, models, analyses))
    options = Options(device="cpu", this_process="jobs" not in options, **options)
    return run_suite(loaded, Store(home / "results"), options, watcher or Silent())


def test_a_case_that_ends_its_process_is_its_record(home):
    (home / "ending_model.py").write_text(MODULE)
    ends = [
        f"{{import: 'ending_model:Ends', kwargs: {{by: {by}}}, name: {name}}}"
        for by, name in ((int(signal.SIGKILL), "killed"), (int(signal.SIGSEGV), "faulty"))
    ]
    done = run(home, f"{{family: pca, latent_dim: 2}}, {', '.join(ends)}", jobs=2)
    assert done.finished
    found = {record.model.label: (record.status, record.reason) for record in done.records}
    assert found == {
        "pca-2": ("ok", None),
        "killed-4": (
            "out_of_memory",
            "likelihood: its process was ended by SIGKILL, as happens when memory runs out",
        ),
        "faulty-4": ("failed", "likelihood: its process was ended by SIGSEGV"),
    }
    killed = next(record for record in done.records if record.model.label == "killed-4")
    assert killed.metric("kl").reason.startswith("failed: its process was ended by SIGKILL")


def test_the_number_of_jobs_does_not_decide_what_is_done(home):
    first = run(home, "{family: pca, latent_dim: [2, 3]}", jobs=2)
    again = run(home, "{family: pca, latent_dim: [2, 3]}", jobs=1)
    assert again.path == first.path
    more = run(home, "{family: pca, latent_dim: [2, 3, 4]}")
    assert [record.reused_from is None for record in more.records] == [False, False, True]
    assert len({record.environment for record in more.records}) == 1


SCRIPT = """
import os, signal
from pathlib import Path
from latentbench.bench.run import suite as suites
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.store import Store

class Told:
    def __getattr__(self, name):
        return lambda *arguments: None
    def stage_advanced(self, label):
        print(label, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    options = Options(device="cpu", jobs=1, use_cache=False)
    run_suite(suites.load("my.yaml"), Store(Path("results")), options, Told())
"""


def test_a_killed_run_keeps_every_finished_step(home):
    """The run kills itself when the first training is finished; the resumed run does not repeat it."""
    write_suite(home, "{family: ae, latent_dim: [2, 3], hidden: 16, recipe: {epochs: 3}}")
    (home / "script.py").write_text(SCRIPT)
    killed = subprocess.run([sys.executable, "script.py"], cwd=home, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    assert killed.stdout.startswith("ae-2")
    (kept,) = (home / "cache" / "steps").glob(f"*/{TRAINING}{SUFFIX}")
    trained = next((cache_root() / "checkpoints").glob("*/weights.safetensors")).stat().st_mtime_ns
    options = Options(device="cpu", use_cache=False, this_process=True)
    done = run_suite(suites.load(str(home / "my.yaml")), Store(home / "results"), options, Silent())
    assert [record.status for record in done.records] == ["ok", "ok"]
    assert trained in {
        path.stat().st_mtime_ns for path in (cache_root() / "checkpoints").glob("*/weights.safetensors")
    }
    assert not kept.exists()


def test_weights_changed_in_the_cache_are_not_measured(home):
    """The analysis is another than before, so the cached model is measured again."""
    models = "{family: ae, latent_dim: 2, hidden: 16}"
    first = run(home, models)
    (weights,) = (cache_root() / "checkpoints").glob("*/weights.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 0x40]))
    told = Told()
    again = run(home, models, analyses="likelihood, code", watcher=told)
    assert [note for note in told.notes if str(weights) in note and "trained again" in note]
    assert again.records[0].weights == first.records[0].weights
    assert weights.read_bytes() == content


def test_a_changed_step_is_done_again(home):
    """A step in the journal that a killed run left, with one bit changed since."""
    case = run(home, "{family: pca, latent_dim: 2}").records[0]
    loaded = suites.load(str(home / "my.yaml"))
    (wanted,) = cases(loaded, load_data("digits"), (0,))
    journal = Journal(Origin(case.environment, case.code.source))
    journal.keep(wanted, JournalStep(name="likelihood", started="", metrics=case.metrics))
    assert list(journal.steps(wanted)) == ["likelihood"]
    (file,) = (home / "cache" / "steps").glob("*/likelihood.sealed")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert journal.steps(wanted) == {}


def test_judges_are_trained_in_sight_and_by_one_thread(home, monkeypatch):
    """Threads would wait for each other on images of 64 pixels, and longer where others compute too."""
    short = JudgeRecipe(epochs=1, smallest_steps=1)
    monkeypatch.setattr("latentbench.analysis.features.stored_judges.QUICK", short)
    monkeypatch.setattr("latentbench.bench.run.runner.threads_of", lambda jobs: 2)
    told = Told()
    run(home, "{family: pca, latent_dim: 2}", analyses="reconstruction", watcher=told)
    trained = {name: threads for name, threads in told.stages.items() if "judge" in name}
    assert trained == {f"training judge {n} of {JUDGES}": {1} for n in range(1, JUDGES + 1)}


def test_no_judge_is_trained_that_no_analysis_needs(home):
    run(home, "{family: pca, latent_dim: 2}")
    assert not (home / "cache" / "judges").exists()


def test_a_step_of_other_judges_is_done_again(home):
    case = run(home, "{family: pca, latent_dim: 2}").records[0]
    (wanted,) = cases(suites.load(str(home / "my.yaml")), load_data("digits"), (0,))
    judge = JudgeReference(hash="first", accuracy=0.9)
    origin = Origin(case.environment, case.code.source, judges=[("first",)])
    Journal(origin).keep(wanted, JournalStep(name="likelihood", started="", judges=(judge,)))
    assert list(Journal(origin).steps(wanted)) == ["likelihood"]
    assert Journal(replace(origin, judges=[("second",)])).steps(wanted) == {}


def test_steps_of_abandoned_runs_are_removed_in_time(home):
    old, young = (home / "cache" / "steps" / name for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    run(home, "{family: pca, latent_dim: 2}")
    assert [folder.exists() for folder in (old, young)] == [False, True]


def test_fresh_repeats_finished_steps(home):
    models = "{family: pca, latent_dim: 2}"
    first = run(home, models)
    second = run(home, models, fresh=True)
    assert (second.path != first.path, second.records[0].reused_from) == (True, None)
    assert os.listdir(home / "cache" / "steps") == []
