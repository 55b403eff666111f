"""Names with markup, formulas and right-to-left text come through every command as they are."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from latentbench.bench.cli import options
from latentbench.bench.cli.app import app
from latentbench.bench.store.store import Store

NAME = "a:one: [b] [/c] | $x$ <i> שלום"
IMAGES = np.zeros((10, 1, 8, 8), np.uint8)
ARRAYS = {"reconstruction/originals": IMAGES, "reconstruction/reconstructions": IMAGES}


@pytest.fixture
def home(tmp_path, monkeypatch, make_record):
    """Two runs of a model with that name, and of its twin, which failed with a hostile message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options.out, "width", 200)
    for mse in (0.1, 0.2):
        good = make_record(mse=mse, psnr=10.0, encode_latency_seconds=1e-3)
        bad = make_record(mse=None, latent_dim=4, status="failed", reason="=boom [/x] <b>\x1b]0;t\x07")
        with Store(tmp_path / "results").writer("my", None) as writer:
            for record in (good, bad):
                writer.append(record.model_copy(update={"model_label": NAME, "model_series": NAME}), ARRAYS)
            writer.finish()
    return tmp_path


def latentbench(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert "\x1b]" not in done.output
    return done


@pytest.mark.parametrize("arguments", [("table",), ("compare", "latest~1", "latest"), ("recommend",)])
def test_terminal_shows_the_name_as_it_is(home, arguments):
    assert NAME in latentbench(*arguments).stdout


def test_table_formats_hold_the_name(home):
    assert json.loads(latentbench("table", "--format", "json").stdout)[0]["model"] == NAME
    rows = list(csv.DictReader(latentbench("table", "--format", "csv").stdout.splitlines()))
    assert [row["model"] for row in rows] == [NAME, f"{NAME} (2)"]
    lines = latentbench("table", "--format", "md").stdout.splitlines()
    assert r"| a:one: [b] [/c] \| $x$ &lt;i&gt; שלום |" in lines[2]
    assert lines[2].replace(r"\|", "").count("|") == lines[0].count("|")


def test_plot_and_report_show_the_name_as_text(home):
    assert "reconstructions.png" in latentbench("plot").stdout
    path = latentbench("report").stdout.strip()
    page = Path(path).read_text(encoding="utf-8")
    assert "<bdi>a:one: [b] [/c] | $x$ &lt;i&gt; שלום</bdi>" in page
    assert "=boom [/x] &lt;b&gt;\\x1b]0;t\\x07" in page


def test_junit_and_exports_are_well_formed(home):
    latentbench("compare", "latest~1", "latest", "--save", "out.xml")
    assert ElementTree.parse("out.xml").getroot().tag == "testsuites"
    (made,) = latentbench("export", "--to", "csv").stdout.split()
    rows = list(csv.DictReader(Path(made).read_text(encoding="utf-8").splitlines()))
    assert {row["model"] for row in rows} == {NAME, f"{NAME} (2)"}
    assert not any(value.startswith("=") for row in rows for value in row.values())


@pytest.mark.parametrize(
    "arguments",
    [
        ("table", "[/x]"),
        ("run", "[/foo].yaml"),
        ("table", "--results", "[/x]"),
        ("check", "--baseline", "[/x]"),
        ("export", "--to", "[/x]"),
        ("history", "[/x]"),
    ],
)
def test_bad_arguments_with_markup_are_one_line(home, arguments, capsys, monkeypatch):
    from latentbench.bench.cli.app import main

    monkeypatch.setattr(sys, "argv", ["latentbench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert next(each for each in arguments if "[/" in each) in shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_narrow_encoding_loses_no_table(home, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", "from latentbench.bench.cli.app import main; main()", "table"],
        cwd=home,
        env=environment,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert "a:one: [b] [/c] | $x$ <i> \\u05e9" in shown
    assert "0.200" in shown


def test_a_folder_whose_names_are_not_utf8_is_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    for folder in (b"images/caf\xe9", b"images/th\xe9"):
        os.makedirs(folder)
        for index in range(10):
            Image.fromarray(draws.integers(0, 255, (8, 8), dtype=np.uint8)).save("image.png")
            os.rename("image.png", folder + b"/%d\xe9.png" % index)
    Path("mine.yaml").write_text(
        "description: x\ndata: folder:images?size=8\nanalyses: [reconstruction]\n"
        "models: [{family: pca, latent_dim: 2}]\n"
    )
    assert latentbench("run", "mine.yaml", "--jobs", "1").exit_code == 0
    assert Path("results/reports/mine.html").is_file()
