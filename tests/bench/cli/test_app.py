"""The installed command, run in its own process as a user runs it."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import safetensors.torch
import torch

from latentbench import data as datasets
from latentbench.bench.store.records.line import line_of
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store

SUITE = """
description: two small models
data: {data}
recipe: {{epochs: 1, batch_size: 256}}
analyses: [reconstruction, likelihood]
models:
  - {{family: pca, latent_dim: 2}}
  - {{family: vae, latent_dim: 2, hidden: 16}}
"""

QUICK = ("--no-figures", "--jobs", "1")
"""One process, and nothing drawn: what most of these tests are about needs neither."""

COMMAND = shutil.which("latentbench", path=str(Path(sys.executable).parent)) or "latentbench"


@pytest.fixture
def home(tmp_path, judges):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "judges").symlink_to(judges)
    (tmp_path / "my.yaml").write_text(SUITE.format(data="digits"))
    return tmp_path


def latentbench(home, *arguments, **more):
    environment = {**os.environ, "LATENTBENCH_CACHE": str(home / "cache"), "COLUMNS": "200"}
    return subprocess.run(
        [COMMAND, *arguments], cwd=home, env=environment, capture_output=True, text=True, timeout=300, **more
    )


def metrics_of(path):
    return {
        (record.case, metric.name): (metric.value, metric.se)
        for record in read(path).records
        for metric in record.metrics
        if "second" not in metric.unit and metric.unit != "bytes"
    }


def test_help_is_quick_and_names_every_verb():
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time: what the command takes on a machine that does nothing else.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5
    assert all(
        verb in done.stdout
        for verb in (
            "run",
            "list",
            "table",
            "plot",
            "report",
            "compare",
            "check",
            "baseline",
            "history",
            "export",
        )
    )


def test_the_command_line_starts_without_torch():
    code = "import sys, latentbench.bench.cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_run_table_compare_and_a_second_run(home):
    first = latentbench(home, "run", "my.yaml", *QUICK)
    assert first.returncode == 0, first.stderr
    assert "pca-2" in first.stdout
    assert "vae-2" in first.stdout
    assert "Traceback" not in first.stderr
    store = Store(home / "results")
    (path,) = store.paths("my")
    record = read(path).records[0]
    assert (store.root / "environments" / f"{record.environment}.json").is_file()
    assert (store.root / "tables" / "my.csv").is_file()

    again = latentbench(home, "run", "my.yaml", *QUICK)
    assert again.returncode == 0
    assert "all 2 cases are already done" in again.stderr
    assert store.paths("my") == [path]

    fresh = latentbench(home, "run", "my.yaml", "--fresh", "--no-cache", *QUICK)
    assert fresh.returncode == 0
    newer = store.paths("my")[-1]
    assert newer != path
    assert metrics_of(path) == metrics_of(newer)

    csv = latentbench(home, "table", "--format", "csv")
    assert csv.stdout.startswith("model,family,")
    assert json.loads(latentbench(home, "table", "--format", "json").stdout)[0]["model"] == "pca-2"

    same = latentbench(home, "compare", "latest~1", "latest")
    assert same.returncode == 0, same.stdout


def test_more_seeds_take_over_what_is_done_and_show_an_interval(home):
    latentbench(home, "run", "my.yaml", *QUICK)
    more = latentbench(home, "run", "my.yaml", "--seeds", "2", *QUICK)
    assert more.returncode == 0, more.stderr
    records = read(Store(home / "results").paths("my")[-1]).records
    assert [(record.seed, record.reused_from is not None) for record in records] == [
        (0, True),
        (0, True),
        (1, False),
        (1, False),
    ]
    assert "±" in more.stdout
    assert "2 seeds" in more.stdout


def test_a_worse_run_is_exit_3_with_everything_said(home):
    latentbench(home, "run", "my.yaml", *QUICK)
    (path,) = Store(home / "results").paths("my")
    worse = home / "worse.jsonl"
    records = [
        record.model_copy(update={"metrics": tuple(map(half_as_bad_again, record.metrics))})
        for record in read(path).records
    ]
    worse.write_bytes(b"".join(map(line_of, records)))
    done = latentbench(home, "compare", str(path), str(worse))
    assert done.returncode == 3
    assert "mse" in done.stdout
    assert "+50.0%" in done.stdout
    assert "one seed" in done.stdout


def half_as_bad_again(metric):
    return replace(metric, value=metric.value * 1.5) if metric.name == "mse" else metric


def start(home, *arguments):
    """The command running in the background, in a session of its own as on a terminal."""
    environment = {**os.environ, "LATENTBENCH_CACHE": str(home / "cache")}
    return subprocess.Popen(
        [COMMAND, *arguments],
        cwd=home,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests in a shell's background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(condition, *, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def interrupt(running):
    """Ctrl-C, which a terminal sends to every process of the group."""
    os.killpg(running.pid, signal.SIGINT)
    try:
        _, said = running.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        # A process that keeps running would take a core from the next test.
        os.killpg(running.pid, signal.SIGKILL)
        raise
    assert running.returncode == 130
    assert "Traceback" not in said
    return said


def test_sigterm_stops_a_run_like_ctrl_c(home):
    running = start(home, "run", "my.yaml", *QUICK, "--seeds", "100")
    folder = home / "results" / "runs" / "my"
    wait_until(lambda: any(path.stat().st_size for path in folder.glob("*.partial.jsonl")))
    running.terminate()
    _, said = running.communicate(timeout=60)
    assert running.returncode == 143
    assert "Resume with: latentbench run my.yaml" in said
    assert "Traceback" not in said
    assert "leaked" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_run_without_a_traceback(home, number):
    running = start(home, "run", "my.yaml", *QUICK, "--seeds", "100")
    folder = home / "results" / "runs" / "my"
    wait_until(lambda: any(path.stat().st_size for path in folder.glob("*.partial.jsonl")))
    while running.poll() is None:
        running.send_signal(number)
        time.sleep(0.02)
    _, said = running.communicate(timeout=60)
    assert running.returncode in (-number, 128 + number)
    assert "Traceback" not in said


def test_version_is_that_of_the_package(home):
    done = latentbench(home, "--version")
    assert done.stdout == f"latentbench {metadata.version('latentbench')}\n"


def test_interrupted_between_cases_a_run_goes_on_where_it_was(home):
    running = start(home, "run", "my.yaml", *QUICK, "--seeds", "100")
    folder = home / "results" / "runs" / "my"
    wait_until(
        lambda: any(len(path.read_text().splitlines()) >= 2 for path in folder.glob("*.partial.jsonl"))
    )
    assert "Resume with: latentbench run my.yaml --no-figures --jobs 1 --seeds 100" in interrupt(running)
    (interrupted,) = folder.glob("*.partial.jsonl")
    before = interrupted.read_text()
    seeds = len(before.splitlines()) // 2 + 1

    resumed = latentbench(home, "run", "my.yaml", *QUICK, "--seeds", str(seeds))
    assert resumed.returncode == 0, resumed.stderr
    assert f"{len(before.splitlines())} already done" in resumed.stderr
    (finished,) = folder.glob("*.jsonl")
    assert finished.read_text().startswith(before)
    assert len(read(finished).records) == 2 * seeds


def test_interrupted_while_workers_start_a_run_resumes(home):
    pca = "  - {family: pca, latent_dim: [3, 4]}\n"
    (home / "my.yaml").write_text(SUITE.format(data="digits") + pca)
    running = start(home, "run", "my.yaml", "--no-figures", "--jobs", "2", "--fresh")
    folder = home / "results" / "runs" / "my"
    wait_until(lambda: any(folder.glob("*.partial.jsonl")))
    assert interrupt(running).rstrip().endswith("Resume with: latentbench run my.yaml --no-figures --jobs 2")
    done = latentbench(home, "run", "my.yaml", "--no-figures", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("*.jsonl"))) == 1


def fails_where_no_file_may_be_large(home, analysis):
    """Run a suite in a process that may write at most 20 kB a file, less than a model or a judge has."""
    suite = SUITE.format(data="digits").replace("hidden: 16", "hidden: 256")
    (home / "my.yaml").write_text(suite.replace("[reconstruction, likelihood]", f"[{analysis}]"))

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    full = latentbench(home, "run", "my.yaml", *QUICK, preexec_fn=limited)
    assert full.returncode == 2
    assert "cannot be written: File too large; make room" in full.stderr.splitlines()[-1]
    assert "Traceback" not in full.stderr


def test_a_cache_without_room_for_a_model_is_one_line_and_the_run_resumes(home):
    fails_where_no_file_may_be_large(home, "training")
    done = latentbench(home, "run", "my.yaml", *QUICK)
    assert done.returncode == 0, done.stderr
    assert [record.status for record in read(next((home / "results").glob("runs/my/*.jsonl"))).records] == [
        "ok",
        "ok",
    ]


def test_a_cache_without_room_for_a_judge_is_one_line(home):
    fails_where_no_file_may_be_large(home, "reconstruction")


def test_users_code_may_print_and_change_the_folder(home):
    (home / "elsewhere").mkdir()
    (home / "loud.py").write_text(f"import os\nprint('hello')\nos.chdir('elsewhere')\n{MINE}")
    (home / "my.yaml").write_text(
        "{description: x, data: digits, analyses: [reconstruction], "
        "models: [{import: 'loud:build', kwargs: {width: 4}, name: loud}]}"
    )
    done = latentbench(home, "run", "my.yaml", *QUICK, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert [row["model"] for row in json.loads(done.stdout)] == ["loud-4"]
    assert "hello" in done.stderr
    assert list((home / "results" / "runs" / "my").glob("*.jsonl"))
    assert not list((home / "elsewhere").iterdir())


def test_interrupted_in_training_a_run_keeps_the_models_it_has(home):
    long = "  - {family: ae, latent_dim: 4, hidden: 16, recipe: {epochs: 1000000}}\n"
    (home / "my.yaml").write_text(SUITE.format(data="digits") + long)
    running = start(home, "run", "my.yaml", *QUICK)
    cards = (home / "cache" / "checkpoints").glob
    wait_until(lambda: len(list(cards("*/model.json"))) == 2)
    interrupt(running)
    trained = {card: card.stat().st_mtime_ns for card in cards("*/model.json")}

    (home / "my.yaml").write_text(SUITE.format(data="digits"))
    resumed = latentbench(home, "run", "my.yaml", *QUICK)
    assert resumed.returncode == 0, resumed.stderr
    assert {card: card.stat().st_mtime_ns for card in cards("*/model.json")} == trained


def test_a_killed_run_loses_only_the_case_in_hand(home):
    running = start(home, "run", "my.yaml", *QUICK, "--seeds", "100")
    folder = home / "results" / "runs" / "my"
    wait_until(
        lambda: any(len(path.read_text().splitlines()) >= 2 for path in folder.glob("*.partial.jsonl"))
    )
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)
    (killed,) = folder.glob("*.partial.jsonl")
    done = read(killed).records
    seeds = len(done) // 2 + 1
    resumed = latentbench(home, "run", "my.yaml", *QUICK, "--seeds", str(seeds))
    assert resumed.returncode == 0, resumed.stderr
    assert f"{2 * seeds} cases, {len(done)} already done" in resumed.stderr
    (finished,) = folder.glob("*.jsonl")
    assert read(finished).records[: len(done)] == done
    assert read(finished).warnings == ()


def test_a_diverged_case_is_a_record_and_exit_1(home):
    (home / "wild.yaml").write_text(
        SUITE.format(data="digits")
        + "  - {family: ae, latent_dim: 3, recipe: {learning_rate: 1.0e+30, epochs: 3}}\n"
    )
    done = latentbench(home, "run", "wild.yaml", *QUICK)
    assert done.returncode == 1
    assert "diverged" in done.stderr
    records = read(Store(home / "results").paths("wild")[-1]).records
    assert [record.status for record in records] == ["ok", "ok", "diverged"]
    mse = records[-1].metric("mse")
    assert mse.value is None
    assert "not finite at step" in mse.reason


OWN = """
description: my own model next to PCA
data: digits
analyses: [reconstruction, throughput]
models:
  - {{import: "mine:build", kwargs: {{width: 4}}, checkpoint: {checkpoint}, name: my-ae}}
  - {{family: pca, latent_dim: 4}}
"""

MINE = """
import torch


class Mine(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down, self.up = torch.nn.Linear(64, width), torch.nn.Linear(width, 64)

    def encode(self, x):
        return self.down(x.flatten(1))

    def decode(self, z):
        return self.up(z).sigmoid().view(-1, 1, 8, 8)


def build(width):
    return Mine(width)
"""


def write_weights(path, *, bias, extra=None):
    """Weights of MINE with which it decodes every code to one shade of grey."""
    state = {
        "down.weight": torch.ones(4, 64),
        "down.bias": torch.zeros(4),
        "up.weight": torch.zeros(64, 4),
        "up.bias": torch.full((64,), bias),
    }
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, str(path))
    else:
        torch.save({"state_dict": state, **(extra or {})}, path)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_model_of_one_s_own_is_measured_beside_the_zoo(home, jobs):
    (home / "suites").mkdir()
    (home / "suites" / "my.yaml").write_text(OWN.format(checkpoint="mine.safetensors"))
    (home / "suites" / "mine.py").write_text(MINE)
    write_weights(home / "suites" / "mine.safetensors", bias=0.0)
    command = ("run", "suites/my.yaml", "--no-figures", "--jobs", jobs)
    first = latentbench(home, *command)
    assert first.returncode == 0, first.stderr
    assert "my-ae-4" in first.stdout
    store = Store(home / "results")
    (path,) = store.paths("my")
    mine, pca = sorted(read(path).records, key=lambda record: record.model.family)
    assert (mine.status, pca.status) == ("ok", "ok")
    test = datasets.load("digits").test.images / 255
    assert mine.metric("mse").value == pytest.approx((test - 0.5).square().mean().item(), rel=1e-6)
    assert mine.metric("train_step_images_per_second").reason == "no train step"
    assert mine.metric("encode_images_per_second").value > 0

    again = latentbench(home, *command)
    assert "all 2 cases are already done" in again.stderr
    assert store.paths("my") == [path]
    if jobs == "2":
        return

    write_weights(home / "suites" / "mine.safetensors", bias=1.0)
    other = latentbench(home, *command)
    assert "1 already done" in other.stderr
    records = read(store.paths("my")[-1]).records
    (newer,) = [record for record in records if record.model.family == "import"]
    assert newer.case != mine.case
    assert newer.metric("mse").value != mine.metric("mse").value

    (home / "suites" / "mine.py").write_text(MINE.replace("self.up(z)", "self.up(z).mul(2)"))
    changed = latentbench(home, *command)
    assert "1 already done" in changed.stderr
    records = read(store.paths("my")[-1]).records
    (newest,) = [record for record in records if record.model.family == "import"]
    assert newest.case == newer.case
    assert newest.metric("mse").value != newer.metric("mse").value


def test_pickles_are_read_only_on_request_and_never_run(home):
    (home / "own.yaml").write_text(OWN.format(checkpoint="mine.pt"))
    (home / "mine.py").write_text(MINE)
    write_weights(home / "mine.pt", bias=0.0)
    refused = latentbench(home, "run", "own.yaml", *QUICK)
    assert refused.returncode == 2
    first, error = refused.stderr.strip().splitlines()
    assert first == "own.yaml: loading; results go to results"
    assert "own.yaml, models[0]: checkpoint mine.pt: is a pickle" in error
    allowed = latentbench(home, "run", "own.yaml", "--allow-pickle", *QUICK)
    assert allowed.returncode == 0, allowed.stderr
    assert len(list((home / "cache" / "imported").glob("*.sealed"))) == 1

    write_weights(home / "mine.pt", bias=0.0, extra={"hook": Bomb(home / "exploded")})
    for flags in ((), ("--allow-pickle",)):
        done = latentbench(home, "run", "own.yaml", *flags, *QUICK)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 2
    assert not (home / "exploded").exists()


class Bomb:
    """Writes a file when its pickle is read."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (open, (self.target, "w"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("view(-1, 1, 8, 8)", "view(-1, 64)"), "mine:build: decode returned [2, 64], expected [2, 1, 8, 8]"),
        (
            ("return Mine", "return 1 / 0 or Mine"),
            "mine:build: ZeroDivisionError: division by zero (mine.py, line",
        ),
        (("def build", "def make"), "mine:build: unknown attribute 'build'"),
        (("build(width)", "build(size)"), "mine:build: missing a required argument: 'size'"),
        (("Linear(64, width)", "Linear(64, width + 1)"), "down.weight is [4, 64], the model's is [5, 64]"),
    ],
)
def test_a_mistake_in_a_user_model_is_one_line_and_exit_2(home, change, message):
    (home / "own.yaml").write_text(OWN.format(checkpoint="mine.safetensors"))
    (home / "mine.py").write_text(MINE.replace(*change))
    write_weights(home / "mine.safetensors", bias=0.0)
    done = latentbench(home, "run", "own.yaml", *QUICK)
    assert done.returncode == 2
    assert "error: own.yaml, models[0]: mine:build: " in done.stderr
    *before, said = done.stderr.strip().splitlines()
    assert message in said
    assert all("loading; results go to" in line for line in before)
    assert len(before) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "mnits"], "unknown suite 'mnits'; did you mean 'mnist'?"),
        (["run", "absent.yaml"], "no suite file absent.yaml"),
        (["run", "my.yaml", "--device", "tpu"], "unknown device 'tpu'"),
        (["run", "my.yaml", "--device", "cuda:63"], "device 'cuda:63': this machine has"),
        (["run", "my.yaml", "--results", "my.yaml"], "my.yaml: cannot be written"),
        (["run", "empty.yaml"], "nothing-here"),
        (["run", "wide.yaml"], "wide.yaml, models[0]) needs"),
        (["table"], "no runs in results; make one with: latentbench run"),
        (["compare", "a", "b"], "no runs in results"),
        (["plot"], "no runs in results"),
        (["report"], "no runs in results"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(home, arguments, message):
    (home / "nothing-here").mkdir()
    (home / "empty.yaml").write_text(SUITE.format(data="folder:nothing-here"))
    (home / "wide.yaml").write_text(
        "description: x\ndata: digits\nmodels: [{family: ae, latent_dim: 2, hidden: 9000000000}]"
    )
    done = latentbench(home, *arguments)
    assert done.returncode == 2
    *before, said = done.stderr.strip().splitlines()
    assert message in said
    assert all("loading; results go to" in line for line in before)
    assert len(before) == (arguments[0] == "run")
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["run", "--seeds", "0"], ["list", "cats"], ["fly"], ["table", "--format", "pdf"]]
)
def test_wrong_usage_is_exit_2_without_a_traceback(home, arguments):
    done = latentbench(home, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [(["list", "modells"], "models"), (["table", "--format", "jsn"], "json")],
)
def test_a_misspelt_value_is_answered_with_the_nearest(home, arguments, nearest):
    done = latentbench(home, *arguments)
    assert done.returncode == 2
    assert f"did you mean {nearest!r}?" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("what", "expected"),
    [("suites", "mnist"), ("models", "vae"), ("data", "fashion-mnist"), ("metrics", "mse")],
)
def test_list_shows_what_there_is(home, what, expected):
    done = latentbench(home, "list", what, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert expected in [next(iter(row.values())) for row in json.loads(done.stdout)]


def test_doctor_finds_this_machine_fit(home):
    done = latentbench(home, "doctor")
    assert done.returncode == 0, done.stdout
    assert "checksums correct" in done.stdout


WHOLE = """
description: the whole path, two models
data: mnist
recipe: {epochs: 1, batch_size: 256, learning_rate: 0.008, adam_betas: [0.9, 0.95], precision: bf16}
models:
  - {family: pca, latent_dim: 2}
  - {family: vae, latent_dim: 8}
"""


@pytest.mark.slow
def test_the_whole_path_on_real_mnist(home):
    (home / "whole.yaml").write_text(WHOLE)
    done = latentbench(home, "run", "whole.yaml")
    assert done.returncode == 0, done.stderr
    results = home / "results"
    records = {record.model.family: record for record in read(Store(results).find("whole")).records}
    assert all(record.status == "ok" for record in records.values())

    pca, vae = records["pca"], records["vae"]
    # Exact: scikit-learn's PCA of the 60,000 train images, on the 10,000 test images, clipped to [0, 1].
    assert pca.metric("mse").value == pytest.approx(0.05546, abs=2e-5)
    assert pca.metric("mse").n == 10_000
    assert pca.metric("kl").value is None
    assert pca.metric("kl").reason
    assert vae.metric("mse").value < 0.045
    assert 3 < vae.metric("kl").value < 40
    assert vae.metric("recognisable_originals").value > 0.99
    assert vae.metric("frechet_prior").value < pca.metric("frechet_moment").value
    assert vae.metric("zero_shot_top1").value > 10 / 90
    assert vae.metric("probe_linear").value > pca.metric("probe_linear").value
    assert vae.metric("encode_images_per_second").value > 1000
    assert all(metric.value is not None or metric.reason for r in records.values() for metric in r.metrics)

    figures = {path.stem for path in (results / "figures" / "whole").glob("*.png")}
    assert {"reconstructions", "samples", "umap", "kl_curves", "latent_maps"} <= figures
    page = (results / "reports" / "whole.html").read_text()
    assert "vae-8" in page
    assert "data:image/png;base64," in page
    assert (results / "tables" / "whole.md").read_text().startswith("| model | MSE")


SWEEP = """
description: one small model
image: [1, 8, 8]
models:
  - {family: pca, latent_dim: 2}
presets:
  small:
    budget_seconds: 0.02
    longest_call_seconds: 5
    grids:
      - {operations: [encode, train_step], batch: [1, 4], precision: fp32}
"""


def test_time_runs_a_sweep_and_skipped_rows_do_not_fail(home):
    (home / "speed.yaml").write_text(SWEEP)
    done = latentbench(home, "time", "speed.yaml", "--preset", "small")
    assert done.returncode == 0, done.stderr
    assert "measured peak of" in done.stderr
    assert "no train step" in done.stdout
    assert (
        (home / "results" / "tables" / "speed.csv").read_text().startswith("model,operation,batch,precision,")
    )
    assert (home / "results" / "figures" / "speed" / "roofline.png").is_file()
    assert latentbench(home, "table", "speed", "--format", "md").stdout.startswith("| model | operation |")

    again = latentbench(home, "run", "speed.yaml", "--no-figures")
    assert (again.returncode, "are already done" in again.stderr) == (0, True), again.stderr

    for arguments, message in (
        (("run", "speed.yaml", "--seeds", "2"), "--seeds 2 has no effect here: a sweep only measures speed"),
        (("report", "speed"), "has no report"),
    ):
        refused = latentbench(home, *arguments)
        assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr


def test_recommend_gives_reasons_and_fails_if_none_qualifies(home):
    latentbench(home, "run", "my.yaml", *QUICK)
    picked = latentbench(home, "recommend", "--min-psnr", "1")
    assert picked.returncode == 0, picked.stderr
    assert picked.stdout.startswith("Pick ")
    nothing = latentbench(home, "recommend", "--min-psnr", "99")
    assert nothing.returncode == 2
    assert "the closest is" in nothing.stderr
    assert "Traceback" not in nothing.stderr
