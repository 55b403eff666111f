"""Zero-shot results are read by CLIP_benchmark, and have the form of MTEB's."""

import json
import sys

import pandas as pd
import pytest

from latentbench.bench.exports.export import export
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.models.zoo import model_spec


@pytest.fixture
def run(tmp_path, make_record):
    with Store(tmp_path / "results").writer("my", None) as writer:
        for seed in range(2):
            accuracies = {"prompt_top1": 0.5 + seed / 10, "prompt_top5": None, "prompt_mean_recall": 0.4}
            writer.append(make_record(**accuracies, seed=seed))
        return read(writer.finish())


def test_clip_benchmark_makes_its_table_of_the_files(run, tmp_path, monkeypatch):
    from clip_benchmark.cli import main

    files = export(run, "clip-benchmark", tmp_path / "out")
    assert len(files) == 2
    command = ["clip_benchmark", "build", *files, "--output", tmp_path / "table.csv"]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    main()
    table = pd.read_csv(tmp_path / "table.csv").sort_values("acc1")
    assert table["acc1"].tolist() == [0.5, 0.6]
    assert table["mean_per_class_recall"].tolist() == [0.4, 0.4]
    assert table["model"].unique().tolist() == [run.records[0].model_label]
    assert table["pretrained"].tolist() == ["seed-0", "seed-1"]


@pytest.fixture
def pretrained(make_record):
    """`pretrained("openai", data="mnist")`: a record of ViT-B-32 with some weights, or of a local folder."""

    def make(origin, *, precision="fp32", **settings):
        local = {"model": origin} if origin.startswith("local-dir:") else {"model": "ViT-B-32", "tag": origin}
        spec = model_spec(family="clip", pretrained=local, precision=precision)
        record = make_record(prompt_top1=0.5, prompt_mean_recall=0.5, case=str(settings), **settings)
        names = {"model": RecordedModel.of(spec), "model_label": spec.label, "model_series": spec.series}
        return record.model_copy(update={**names, "case": f"{spec.label} {origin} {settings}"})

    return make


@pytest.fixture
def store_run(tmp_path):
    def write(*records):
        with Store(tmp_path / "results").writer("my", None) as writer:
            for record in records:
                writer.append(record)
            return read(writer.finish())

    return write


@pytest.mark.parametrize("name", ["clip-benchmark", "mteb"])
def test_each_record_has_one_file(pretrained, store_run, tmp_path, name):
    records = [
        *(
            pretrained("openai", precision=precision, seed=seed)
            for precision in ("fp32", "bf16")
            for seed in (0, 1)
        ),
        *(pretrained(f"local-dir:{folder}/m0") for folder in ("a", "b", "a/", "a-")),
        *(
            pretrained("openai", data=f"folder:{place}/many?size={size}")
            for place in "ab"
            for size in (224, 64)
        ),
    ]
    files = export(store_run(*records), name, tmp_path / "out")
    assert len({file.name.lower() for file in files}) == len(records)
    assert len(list((tmp_path / "out").iterdir())) == len(records)


def test_data_sets_have_the_names_of_clip_benchmark(pretrained, store_run, tmp_path):
    names = {
        "torchvision:food101?size=224": "food101",
        "torchvision:sun397?size=224&limit=5000": "sun397 limit=5000",
        "wds:tars/imagenet1k?size=224&split=test": "imagenet1k",
        "folder:photos?split=all": "photos split=all",
        "wds:tars/pets/test/{0..9}.tar?size=224": "pets",
        "folder:photos/many?size=224": "photos/many",
        "folder:many?size=224": "many",
        "cifar10": "cifar10",
        "made in memory": "made in memory",
    }
    files = export(store_run(*(pretrained("openai", data=data) for data in names)), "mteb", tmp_path / "out")
    assert [json.loads(file.read_text())["task_name"] for file in files] == list(names.values())


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
