"""The commands that compare runs: output, files and exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from latentbench.analysis.definitions import definitions
from latentbench.bench.cli import options as terminal
from latentbench.bench.cli.app import app
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terminal.out, "width", 200)
    return Store(tmp_path / "results")


@pytest.fixture
def write(results, make_record):
    """`write(mse=[…])`: a finished run with a seed for each value."""

    def write(suite="my", **options):
        values, more = options.pop("mse"), options
        with results.writer(suite, "0123456789") as writer:
            for seed, value in enumerate(values):
                writer.append(make_record(mse=value, seed=seed, **more))
            return writer.finish()

    return write


def latentbench(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


GOOD = [0.020, 0.021, 0.020, 0.022, 0.021]
BAD = [0.024, 0.0255, 0.0239, 0.0262, 0.0251]


def test_gate_passes_equal_and_fails_worse_models(write):
    write(mse=GOOD)
    done = latentbench("baseline", "set", "main", "latest", "--why", "the first")
    assert done.exit_code == 0, done.output
    assert "main →" in done.output
    unmeasured = latentbench("check", "--baseline", "main")
    assert unmeasured.exit_code == 4
    assert "A and B are one run: nothing was measured in between" in unmeasured.output
    write(mse=GOOD)
    passed = latentbench("check", "--baseline", "main")
    assert passed.exit_code == 0, passed.output
    assert "nothing fails: 1 ok" in passed.output
    write(mse=BAD)
    failed = latentbench("check", "--baseline", "main", "--save", "r.md", "--save", "r.xml")
    assert failed.exit_code == 3
    assert "regressed (paired t over 5 seeds)" in failed.output
    assert Path("r.md").read_text().startswith("### ❌ latentbench: fails on 1 of 1")
    assert ElementTree.parse("r.xml").find("testsuite").get("failures") == "1"
    assert latentbench("compare", "latest~1", "latest").exit_code == 3
    assert latentbench("check", "latest~1", "--baseline", "main").exit_code == 0


def test_gate_tests_the_metrics_of_its_policy(write, tmp_path):
    write(mse=GOOD)
    latentbench("baseline", "set", "main", "latest", "--why", "the first")
    write(mse=BAD)
    (tmp_path / "lenient.yaml").write_text("smallest_effect: {metrics: {mse: {relative: 0.5}}}")
    assert latentbench("check", "--baseline", "main", "--policy", "lenient.yaml").exit_code == 0
    (tmp_path / "other.yaml").write_text("gate: [ssim]")
    assert latentbench("check", "--baseline", "main", "--policy", "other.yaml").exit_code == 4


def test_an_interrupted_run_does_not_pass(write, results, make_record):
    write(mse=GOOD)
    latentbench("baseline", "set", "main", "latest", "--why", "the first")
    with results.writer("my", None) as writer:
        for seed, value in enumerate(GOOD[:-1]):
            writer.append(make_record(mse=value, seed=seed))
    checked = latentbench("check", "--baseline", "main", "--save", "r.xml")
    assert checked.exit_code == 1
    assert "is unfinished: it has 4 records so far" in checked.stderr
    assert "nothing fails: 1 ok, but B is unfinished" in checked.stdout
    assert ElementTree.parse("r.xml").find("testsuite").get("errors") == "1"
    assert "is unfinished" in latentbench("table", "latest").stderr


def test_another_machine_is_exit_4_unless_allowed(write):
    write(mse=GOOD)
    latentbench("baseline", "set", "main", "latest", "--why", "the first")
    write(mse=BAD, environment="another")
    apart = latentbench("check", "--baseline", "main")
    assert apart.exit_code == 4
    assert "different environments: env → another" in apart.output
    together = latentbench("check", "--baseline", "main", "--across-environments")
    assert together.exit_code == 3
    assert "compared across environments: env → another" in together.output


def test_a_failed_case_is_exit_1_and_nothing_in_common_exit_4(write):
    a = write(mse=[0.02])
    failed = write(mse=[None], status="diverged", reason="loss not finite")
    assert latentbench("compare", a, failed).exit_code == 1
    other = write(mse=[0.02], latent_dim=64)
    assert latentbench("compare", a, other).exit_code == 4


def test_a_baseline_of_another_store_s_latest_run(write, make_record, tmp_path):
    write(mse=GOOD)
    latentbench("baseline", "set", "main", "latest", "--why", "the first")
    with Store(tmp_path / "ci").writer("my", None) as writer:
        for seed, value in enumerate(BAD):
            writer.append(make_record(mse=value, seed=seed))
        writer.finish()
    assert latentbench("check", "ci", "--baseline", "main").exit_code == 3


def test_an_edited_record_is_left_out_said_and_not_compared(write):
    a, b = write(mse=GOOD), write(mse=GOOD)
    b.write_text(b.read_text().replace('"value":0.022', '"value":0.002'))
    done = latentbench("compare", a, b, "--format", "json")
    assert "line 4: changed after it was written" in done.stderr
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["seeds"] == [0, 1, 2, 4]
    assert finding["verdict"] == "ok"


def test_baselines_are_listed_with_what_is_wrong(write):
    assert "no baselines" in latentbench("baseline", "list").stderr
    path = write(mse=GOOD)
    latentbench("baseline", "set", "main", "latest", "--why", "the first")
    assert json.loads(latentbench("baseline", "list", "--format", "json").stdout)[0]["state"] == "ok"
    path.unlink()
    (row,) = json.loads(latentbench("baseline", "list", "--format", "json").stdout)
    assert "is not there" in row["state"]


def test_a_baseline_is_removed_by_name(write):
    write(mse=GOOD)
    latentbench("baseline", "set", "main", "latest", "--why", "the first")
    assert latentbench("baseline", "remove", "main").exit_code == 0
    assert "no baselines" in latentbench("baseline", "list").stderr
    assert latentbench("table", "latest").exit_code == 0


def test_history_prints_a_table_and_draws_when_asked(write):
    for index in range(8):
        write(mse=[value * (1.2 if index >= 4 else 1) for value in GOOD])
    done = latentbench("history", "mse", "--format", "csv")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("changed here?") == 1
    assert not Path("results/figures").exists()
    drawn = latentbench("history", "mse", "--plot")
    assert "figures/history/mse.png" in drawn.stderr.replace("\n", "")
    assert Path("results/figures/history/mse.png").is_file()


def test_export_writes_where_it_is_told(write, tmp_path):
    write(mse=GOOD)
    done = latentbench("export", "latest", "--to", "csv", "--out", "elsewhere")
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "elsewhere").glob("*.csv"))) == 1


def test_verify_is_exit_1_where_something_is_broken(write):
    path = write(mse=GOOD)
    broken = latentbench("results", "verify")
    assert broken.exit_code == 1  # its environment was never written down
    assert "environments/env.json: is gone" in broken.stdout
    assert "DAMAGED" in broken.stderr
    path.unlink()
    gone = latentbench("results", "verify")
    assert gone.exit_code == 1
    assert "the run of this checksum is gone" in gone.stdout


def test_reference_is_the_committed_run_of_the_suite(write):
    write(mse=GOOD)
    copied = latentbench("results", "copy", "my", "--to", "results/reference")
    assert copied.exit_code == 0, copied.output
    write(mse=BAD, environment="another machine")
    assert latentbench("compare", "reference", "latest").exit_code == 3
    assert latentbench("compare", "latest", "reference").exit_code == 0
    assert latentbench("table", "reference:my", "--format", "csv").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "--baseline is missing: name the baseline"),
        (["check", "--baseline", "main"], "no baselines in results; set one with"),
        (["check", "--throughput"], "--against is missing: name the git revision"),
        (["compare", "a", "b", "--policy", "absent.yaml"], "absent.yaml: cannot be read"),
        (["history", "mze"], "unknown metric 'mze'; did you mean 'mse'"),
        (["export", "latest", "--to", "csv"], "no runs in results"),
        (["baseline", "set", "main", "latest", "--why", "x"], "no runs in results"),
        (["baseline", "remove", "main"], "no baselines in results"),
        (["results", "verify", "--results", "reslts"], "is not a results folder"),
    ],
)
def test_a_mistake_is_one_line(results, arguments, message):
    done = latentbench(*arguments)
    assert isinstance(done.exception, LatentbenchError)
    assert message in str(done.exception)


@pytest.mark.parametrize(
    "command",
    [
        ["table"],
        ["history", "mse"],
        ["baseline", "list"],
        ["list", "data"],
        ["list", "metrics"],
        ["results", "verify"],
        ["recommend", "--prefer", "mse"],
        ["compare", "latest", "latest"],
    ],
    ids=" ".join,
)
def test_commands_that_only_read_results_import_no_torch(write, monkeypatch, tmp_path, command):
    _without(["torch", "pandas"], write, monkeypatch, tmp_path, command)


@pytest.mark.parametrize("command", ["report", "export"])
def test_report_and_export_import_no_torch(write, monkeypatch, tmp_path, command):
    _without(["torch"], write, monkeypatch, tmp_path, [command])


def test_import_imports_no_torch(write, monkeypatch, tmp_path):
    result = {"dataset": "vtab/pets", "model": "RN50", "pretrained": "openai", "metrics": {"acc1": 0.9}}
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps({**result, "task": "zeroshot_classification"}))
    arguments = ["import", str(file), "--same-images", "latest", "--name", "vtab/pets=mnist"]
    _without(["torch"], write, monkeypatch, tmp_path, arguments)


def _without(libraries, write, monkeypatch, tmp_path, command):
    """Run a command in a separate process that must not import some libraries."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    write(mse=GOOD)
    definitions.cache_clear()
    definitions()  # Puts the definitions into the cache.
    code = (
        "import sys; from latentbench.bench.cli.app import app; app(sys.argv[1:], standalone_mode=False); "
        f"assert not {set(libraries)} & set(sys.modules)"
    )
    where = [] if command[0] == "list" else ["--results", "results"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command, *where], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
