"""The command line as a person meets it: the installed command, in a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentbench.bench.store import Store, read

SUITE = """
description: two small models
data: {data}
recipe: {{epochs: 1, batch_size: 256}}
analyses: [reconstruction, likelihood]
models:
  - {{family: pca, latent_dim: 2}}
  - {{family: vae, latent_dim: 2, hidden: 16}}
"""

COMMAND = shutil.which("latentbench", path=str(Path(sys.executable).parent)) or "latentbench"


@pytest.fixture
def home(tmp_path):
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
        started = time.perf_counter()
        done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5
    assert all(
        verb in done.stdout for verb in ("run", "list", "table", "plot", "report", "compare", "doctor")
    )


def test_the_command_line_starts_without_torch():
    code = "import sys, latentbench.bench.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_run_table_compare_and_a_second_run(home):
    first = latentbench(home, "run", "my.yaml", "--no-pictures")
    assert first.returncode == 0, first.stderr
    assert "pca-2" in first.stdout
    assert "vae-2" in first.stdout
    assert "Traceback" not in first.stderr
    store = Store(home / "results")
    (path,) = store.paths("my")
    record = read(path).records[0]
    assert (store.root / "environments" / f"{record.environment}.json").is_file()
    assert (store.root / "tables" / "my.csv").is_file()

    again = latentbench(home, "run", "my.yaml", "--no-pictures")
    assert again.returncode == 0
    assert "all 2 cases are done already" in again.stderr
    assert store.paths("my") == [path]

    fresh = latentbench(home, "run", "my.yaml", "--fresh", "--no-cache", "--no-pictures")
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
    latentbench(home, "run", "my.yaml", "--no-pictures")
    more = latentbench(home, "run", "my.yaml", "--seeds", "2", "--no-pictures")
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


def test_a_worse_run_is_exit_3_and_nothing_in_common_is_exit_4(home):
    latentbench(home, "run", "my.yaml", "--no-pictures")
    (path,) = Store(home / "results").paths("my")
    worse = home / "worse.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for metric in lines[0]["metrics"]:
        if metric["name"] == "mse":
            metric["value"] *= 1.5
    worse.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = latentbench(home, "compare", str(path), str(worse))
    assert done.returncode == 3
    assert "mse" in done.stdout
    assert "+50.0%" in done.stdout

    other = home / "other.jsonl"
    other.write_text("".join(json.dumps({**line, "case": "x" + line["case"]}) + "\n" for line in lines))
    assert latentbench(home, "compare", str(path), str(other)).returncode == 4


def test_an_interrupted_run_goes_on_where_it_was(home):
    (home / "long.yaml").write_text(
        SUITE.format(data="mnist") + "  - {family: ae, latent_dim: 4, recipe: {epochs: 1000}}\n"
    )
    environment = {**os.environ, "LATENTBENCH_CACHE": str(home / "cache")}
    running = subprocess.Popen(
        [COMMAND, "run", "long.yaml", "--no-pictures"],
        cwd=home,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    partial = home / "results" / "runs" / "long"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = list(partial.glob("*.partial.jsonl"))
        if found and len(found[0].read_text().splitlines()) == 2:
            break
        time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in said
    assert "Go on with: latentbench run long.yaml" in said
    (interrupted,) = partial.glob("*.partial.jsonl")
    before = interrupted.read_text()

    (home / "long.yaml").write_text(SUITE.format(data="mnist") + "  - {family: ae, latent_dim: 4}\n")
    resumed = latentbench(home, "run", "long.yaml", "--no-pictures")
    assert resumed.returncode == 0, resumed.stderr
    assert "2 of them done already" in resumed.stderr
    (finished,) = partial.glob("*.jsonl")
    assert finished.read_text().startswith(before)
    assert len(read(finished).records) == 3


def test_a_diverged_case_is_a_record_and_exit_1(home):
    (home / "wild.yaml").write_text(
        SUITE.format(data="digits")
        + "  - {family: ae, latent_dim: 3, recipe: {learning_rate: 1.0e+30, epochs: 3}}\n"
    )
    done = latentbench(home, "run", "wild.yaml", "--no-pictures")
    assert done.returncode == 1
    assert "diverged" in done.stderr
    records = read(Store(home / "results").paths("wild")[-1]).records
    assert [record.status for record in records] == ["ok", "ok", "diverged"]
    mse = records[-1].metric("mse")
    assert mse.value is None
    assert "not finite at step" in mse.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "mnits"], "unknown suite 'mnits'; did you mean 'mnist'?"),
        (["run", "absent.yaml"], "no suite file absent.yaml"),
        (["run", "my.yaml", "--device", "tpu"], "unknown device 'tpu'"),
        (["run", "my.yaml", "--device", "cuda:63"], "device 'cuda:63': this machine has"),
        (["run", "my.yaml", "--results", "my.yaml"], "results folder my.yaml: cannot be written"),
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
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["run", "--seeds", "0"], ["list", "cats"], ["fly"], ["table", "--format", "pdf"]]
)
def test_wrong_usage_is_exit_2_without_a_traceback(home, arguments):
    done = latentbench(home, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


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
    assert "checksums right" in done.stdout
