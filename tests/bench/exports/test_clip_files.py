"""Zero-shot results are read by CLIP_benchmark, and have the form of MTEB's."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from latentbench.bench.exports.export import export
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError


@pytest.fixture
def run(tmp_path, make_record):
    with Store(tmp_path / "results").writer("my", None) as writer:
        for seed in range(2):
            accuracies = {"prompt_top1": 0.5 + seed / 10, "prompt_top5": None, "prompt_mean_recall": 0.4}
            writer.append(make_record(**accuracies, seed=seed))
        return read(writer.finish())


def test_clip_benchmark_makes_its_table_of_the_files(run, tmp_path):
    files = export(run, "clip-benchmark", tmp_path / "out")
    assert len(files) == 2
    command = [Path(sys.executable).with_name("clip_benchmark"), "build", *files, "--output", "table.csv"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "table.csv").sort_values("acc1")
    assert table["acc1"].tolist() == [0.5, 0.6]
    assert table["mean_per_class_recall"].tolist() == [0.4, 0.4]
    assert table["model"].unique().tolist() == [run.records[0].model_label]
    assert table["pretrained"].tolist() == ["seed-0", "seed-1"]


def test_mteb_files_have_its_fields(run, tmp_path):
    first, _ = export(run, "mteb", tmp_path / "out")
    content = json.loads(first.read_text())
    (score,) = content["scores"]["test"]
    assert score["main_score"] == score["accuracy"] == 0.5
    assert content["task_name"] == run.records[0].data.name
    assert content["dataset_revision"] == run.records[0].data.fingerprint


@pytest.mark.parametrize("name", ["clip-benchmark", "mteb"])
def test_a_run_without_zero_shot_results_is_refused(make_record, tmp_path, name):
    with Store(tmp_path / "results").writer("my", None) as writer:
        writer.append(make_record(mse=0.1))
        run = read(writer.finish())
    with pytest.raises(LatentbenchError, match="no zero-shot results to export; add prompts"):
        export(run, name, tmp_path / "out")
