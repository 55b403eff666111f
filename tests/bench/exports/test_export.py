"""Each exported file is read by the tool it is made for."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from latentbench.bench.exports.export import export
from latentbench.bench.exports.registry import EXPORTS
from latentbench.bench.store.run import Run, read
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError


@pytest.fixture
def run(tmp_path, make_record):
    with Store(tmp_path / "results").writer("my", None) as writer:
        for seed in range(3):
            writer.append(
                make_record(
                    mse=0.02 + seed / 1000,
                    recognisable=0.9,
                    kl=None,
                    encode_images_per_second=1000.0 * (seed + 1),
                    encode_latency_seconds=0.001,
                    seed=seed,
                ),
                {"history/loss": np.array([3.0, 2.0, 1.0]), "history/kl_per_dim": np.zeros((3, 2))},
            )
        return read(writer.finish())


def test_pandas_and_duckdb_read_one_table(run, tmp_path):
    (text,) = export(run, "csv", tmp_path / "out")
    (columns,) = export(run, "parquet", tmp_path / "out")
    from_csv, from_parquet = pd.read_csv(text), pd.read_parquet(columns)
    assert list(from_csv.columns) == list(from_parquet.columns)
    assert len(from_csv) == len(from_parquet) == 15
    (mean,) = duckdb.sql(f"select avg(value) from '{columns}' where metric = 'mse'").fetchall()[0]
    assert mean == pytest.approx(0.021)
    (reasons,) = duckdb.sql(f"select count(*) from '{columns}' where reason = 'not available'").fetchall()[0]
    assert reasons == 3


def test_pytest_benchmark_compares_the_timings(run, tmp_path):
    (path,) = export(run, "pytest-benchmark", tmp_path / "out")
    done = subprocess.run(
        [Path(sys.executable).with_name("pytest-benchmark"), "compare", path, "--csv", tmp_path / "t.csv"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "t.csv").set_index("name")
    encode = table.loc[next(name for name in table.index if "encode[ae-2]" in name)]
    assert encode["min"] == pytest.approx(1 / 3000)
    assert encode["max"] == pytest.approx(1 / 1000)
    assert encode["median"] == pytest.approx(1 / 2000)
    assert encode["rounds"] == 3


def test_a_run_without_timings_is_refused_by_name(make_record, tmp_path):
    with Store(tmp_path).writer("my", None) as writer:
        writer.append(make_record(mse=0.1))
        run = read(writer.finish())
    with pytest.raises(LatentbenchError, match="no timings to export"):
        export(run, "pytest-benchmark", tmp_path / "out")


def test_github_action_benchmark_gets_two_lists(run, tmp_path):
    bigger, smaller = export(run, "github-action-benchmark", tmp_path / "out")
    assert (bigger.name, smaller.name) == ("customBiggerIsBetter.json", "customSmallerIsBetter.json")
    entries = {path.name: json.loads(path.read_text()) for path in (bigger, smaller)}
    for entry in (entry for file in entries.values() for entry in file):
        # The required and the optional keys of the action's entries.
        assert {"name", "unit", "value"} <= set(entry) <= {"name", "unit", "value", "range", "extra"}
        assert isinstance(entry["value"], float)
    assert {e["name"] for e in entries[smaller.name]} == {"ae-2 · mse", "ae-2 · encode_latency_seconds"}
    assert {e["name"] for e in entries[bigger.name]} == {
        "ae-2 · recognisable",
        "ae-2 · encode_images_per_second",
    }


def test_tensorboard_reads_metrics_and_curves(run, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folders = export(run, "tensorboard", tmp_path / "out")
    assert len(folders) == 3
    events = accumulator.EventAccumulator(str(folders[1]))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("metrics/mse")] == [(1, pytest.approx(0.021))]
    assert [e.value for e in events.Scalars("training/loss")] == [3.0, 2.0, 1.0]
    assert "metrics/kl" not in events.Tags()["scalars"]


def test_mlflow_reads_the_runs(run, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    (path,) = export(run, "mlflow", tmp_path / "out")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}")
    experiment = client.get_experiment_by_name("my")
    runs = client.search_runs([experiment.experiment_id], filter_string="params.seed = '2'")
    assert [run.data.metrics["mse"] for run in runs] == [pytest.approx(0.022)]
    assert runs[0].data.params["latent_dim"] == "2"
    assert runs[0].data.tags["latentbench.run"] == run.stem
    assert "kl" not in runs[0].data.metrics


def wandb_messages(path, block=32768):
    """The messages of a .wandb file: LevelDB's log of records in blocks, after W&B's own 7 bytes."""
    content, at, message = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if block - at % block < 7:
            at += block - at % block
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        message += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield message
            message = b""


def test_wandb_messages_contain_the_metrics(run, tmp_path):
    internal = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    folders = export(run, "wandb", tmp_path / "out")
    assert len(folders) == 3
    (file,) = folders[2].glob("*.wandb")
    logged = {}
    for message in wandb_messages(file):
        record = internal.Record.FromString(message)
        if record.HasField("history"):
            logged |= {
                item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item
            }
    assert logged["mse"] == pytest.approx(0.022)
    assert "kl" not in logged


@pytest.mark.parametrize("name", ["../../x", "/tmp/escaped", "x" * 3000, "a [b] [/c] | $x$ <i>", "nul\x00"])
def test_tensorboard_folders_stay_inside_the_output(tmp_path, make_record, name):
    pytest.importorskip("tensorboard")
    record = make_record(mse=0.1).model_copy(update={"model_label": name})
    twin = make_record(mse=0.2, epochs=9).model_copy(update={"model_label": name})
    run = Run(tmp_path / "runs" / "my" / "a.jsonl", (record, twin))
    folders = export(run, "tensorboard", tmp_path / "out")
    assert len({folder.resolve() for folder in folders}) == 2
    assert all(folder.resolve().parent == (tmp_path / "out" / "a").resolve() for folder in folders)


def test_a_second_export_to_tensorboard_doubles_nothing(run, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):
        folders = export(run, "tensorboard", tmp_path / "out")
    events = accumulator.EventAccumulator(str(folders[0]))
    events.Reload()
    assert len(list(folders[0].iterdir())) == 1
    assert len(events.Scalars("metrics/mse")) == 1


def test_a_second_export_to_mlflow_doubles_nothing(run, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    for _ in range(2):
        (path,) = export(run, "mlflow", tmp_path / "out")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}")
    assert len(client.search_runs([client.get_experiment_by_name("my").experiment_id])) == 3


def test_a_second_export_to_wandb_doubles_nothing(run, tmp_path):
    pytest.importorskip("wandb")
    for _ in range(2):
        export(run, "wandb", tmp_path / "out")
    assert len(list((tmp_path / "out" / "wandb").glob("offline-run-*"))) == 3


def test_mistakes_are_one_line(run, tmp_path, monkeypatch):
    with pytest.raises(LatentbenchError, match="unknown export format 'parket'; did you mean 'parquet'"):
        export(run, "parket", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(LatentbenchError, match="cannot be written"):
        export(run, "csv", tmp_path / "file")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(LatentbenchError, match=r"pip install 'latentbench\[mlflow\]'"):
        export(run, "mlflow", tmp_path)


def test_every_format_is_described():
    assert all(exporter.__doc__ for _, exporter in EXPORTS.items())
