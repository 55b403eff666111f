"""The commands do what their help says, and a mistake is one line."""

import json
import re
import resource
import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import pytest
from shared.commands import COMMAND, QUICK, SUITE, latentbench, latentbench_here

from latentbench.bench.store.records.line import line_of
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store


def metrics_of(path):
    return {
        (record.case, metric.name): (metric.value, metric.se)
        for record in read(path).records
        for metric in record.metrics
        if "second" not in metric.unit and metric.unit != "bytes"
    }


GROUPS = ("baseline", "results", "cache")


def test_help_is_quick():
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([COMMAND, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time: what the command takes on a machine that does nothing else.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def test_help_names_every_command():
    done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
    named = re.findall(r"^│ (\w+) {2,}\w", done.stdout, flags=re.MULTILINE)
    reading = "list table plot report recommend history export import compare check"
    assert set(named) == {*reading.split(), "run", "time", "audit", "explain", "reproduce", *GROUPS, "doctor"}


def test_the_command_line_starts_without_torch():
    code = "import sys, latentbench.bench.cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_run_table_compare_and_a_second_run(first_run, measured_home):
    home, first = measured_home, first_run[1]
    assert "pca-2" in first.stdout
    assert "vae-2" in first.stdout
    assert "Traceback" not in first.stderr
    store = Store(home / "results")
    (path,) = store.paths("my")
    record = read(path).records[0]
    assert (store.root / "environments" / f"{record.environment}.json").is_file()
    assert (store.root / "tables" / "my.csv").is_file()

    again = latentbench_here(home, "run", "my.yaml", *QUICK)
    assert again.returncode == 0
    assert "all 2 cases are already done" in again.stderr
    assert store.paths("my") == [path]

    fresh = latentbench_here(home, "run", "my.yaml", "--fresh", "--no-cache", *QUICK)
    assert fresh.returncode == 0
    newer = store.paths("my")[-1]
    assert newer != path
    assert metrics_of(path) == metrics_of(newer)

    csv = latentbench_here(home, "table", "--format", "csv")
    assert csv.stdout.startswith("model,family,")
    assert json.loads(latentbench_here(home, "table", "--format", "json").stdout)[0]["model"] == "pca-2"

    same = latentbench_here(home, "compare", "latest~1", "latest")
    assert same.returncode == 0, same.stdout


def test_more_seeds_take_over_what_is_done_and_show_an_interval(measured_home):
    home = measured_home
    more = latentbench_here(home, "run", "my.yaml", "--seeds", "2", *QUICK)
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


def test_a_worse_run_is_exit_3_with_everything_said(measured_home):
    home = measured_home
    (path,) = Store(home / "results").paths("my")
    worse = home / "worse.jsonl"
    records = [
        record.model_copy(update={"metrics": tuple(map(half_as_bad_again, record.metrics))})
        for record in read(path).records
    ]
    worse.write_bytes(b"".join(map(line_of, records)))
    done = latentbench_here(home, "compare", str(path), str(worse))
    assert done.returncode == 3
    assert "mse" in done.stdout
    assert "+50.0%" in done.stdout
    assert "one seed" in done.stdout


def half_as_bad_again(metric):
    return replace(metric, value=metric.value * 1.5) if metric.name == "mse" else metric


def test_version_is_that_of_the_package(home):
    done = latentbench(home, "--version")
    assert done.stdout == f"latentbench {metadata.version('latentbench')}\n"


def test_a_diverged_case_is_a_record_and_exit_1(home):
    (home / "wild.yaml").write_text(
        SUITE.format(data="digits")
        + "  - {family: ae, latent_dim: 3, recipe: {learning_rate: 1.0e+30, epochs: 3}}\n"
    )
    done = latentbench_here(home, "run", "wild.yaml", *QUICK)
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
    done = latentbench_here(home, *arguments)
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
    done = latentbench_here(home, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [(["list", "modells"], "models"), (["table", "--format", "jsn"], "json")],
)
def test_a_misspelt_value_is_answered_with_the_nearest(home, arguments, nearest):
    done = latentbench_here(home, *arguments)
    assert done.returncode == 2
    assert f"did you mean {nearest!r}?" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("what", "expected"),
    [("suites", "mnist"), ("models", "vae"), ("data", "fashion-mnist"), ("metrics", "mse")],
)
def test_list_shows_what_there_is(home, what, expected):
    done = latentbench_here(home, "list", what, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert expected in [next(iter(row.values())) for row in json.loads(done.stdout)]


def test_doctor_finds_this_machine_fit(home):
    done = latentbench_here(home, "doctor")
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
    done = latentbench_here(home, "time", "speed.yaml", "--preset", "small")
    assert done.returncode == 0, done.stderr
    assert "measured peak of" in done.stderr
    assert "no train step" in done.stdout
    assert (
        (home / "results" / "tables" / "speed.csv").read_text().startswith("model,operation,batch,precision,")
    )
    assert (home / "results" / "figures" / "speed" / "roofline.png").is_file()
    assert latentbench_here(home, "table", "speed", "--format", "md").stdout.startswith(
        "| model | operation |"
    )

    again = latentbench_here(home, "run", "speed.yaml", "--no-figures")
    assert (again.returncode, "are already done" in again.stderr) == (0, True), again.stderr

    for arguments, message in (
        (("run", "speed.yaml", "--seeds", "2"), "--seeds 2 has no effect here: a sweep only measures speed"),
        (("report", "speed"), "has no report"),
    ):
        refused = latentbench_here(home, *arguments)
        assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr


def test_recommend_gives_reasons_and_fails_if_none_qualifies(measured_home):
    home = measured_home
    picked = latentbench_here(home, "recommend", "--min-psnr", "1")
    assert picked.returncode == 0, picked.stderr
    assert picked.stdout.startswith("Pick ")
    nothing = latentbench_here(home, "recommend", "--min-psnr", "99")
    assert nothing.returncode == 2
    assert "the closest is" in nothing.stderr
    assert "Traceback" not in nothing.stderr
