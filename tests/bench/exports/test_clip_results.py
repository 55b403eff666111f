"""Results of CLIP_benchmark become a run: marked, comparable on the same images, without invented errors."""

import json

import pytest

from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import shipped
from latentbench.bench.exports.clip_results import NO_NUMBER, import_results
from latentbench.bench.exports.export import export
from latentbench.bench.present import tables
from latentbench.bench.present.rows import rows
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.models.zoo import model_spec

RESULT = {
    "dataset": "cifar10",
    "model": "ViT-B-32",
    "pretrained": "openai",
    "task": "zeroshot_classification",
    "metrics": {"acc1": 0.8983, "acc5": None, "mean_per_class_recall": 0.8980},
    "language": "en",
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def write(tmp_path):
    def write(name="one.json", **changes):
        path = tmp_path / name
        path.write_text(json.dumps({**RESULT, **changes}))
        return path

    return write


def imported(store, *paths, same_images=None, names=()):
    return import_results(paths, store, "theirs", same_images=same_images, names=dict(names))


def test_an_imported_result_is_marked_and_has_no_invented_error(store, write):
    run = imported(store, write(), write("two.json", dataset="mnist"))
    table = rows(run.last_records)
    assert [(row.data, row.label) for row in table] == [
        ("cifar10", "ViT-B-32 openai"),
        ("mnist", "ViT-B-32 openai"),
    ]
    metric = table[0].metric("prompt_top1")
    assert (metric.value, metric.se, metric.n, metric.reason) == (0.8983, None, None, NO_NUMBER)
    markdown = tables.as_markdown(table)
    assert "| cifar10 | ViT-B-32 openai ¶ |" in markdown
    assert "¶: measured by CLIP_benchmark, not by latentbench" in markdown
    assert "prompt_top5" not in table[0].cells
    assert tables.data_sets(table)[0] == "cifar10, images not stated"
    assert "\nimported, source CLIP_benchmark" in tables.footnote(table)


def test_our_own_export_comes_back_and_compares_as_equal(store, make_record, tmp_path):
    """On the same images, the error is binomial in their number."""
    with store.writer("my", None) as writer:
        writer.append(make_record(family="pca", prompt_top1=0.75, prompt_mean_recall=0.5, n=10_000))
        ours = read(writer.finish())
    files = export(ours, "clip-benchmark", tmp_path / "out")
    renamed = [path.rename(path.with_name(f"{path.stem}.json")) for path in files]
    run = imported(store, *renamed, same_images=ours)
    metric = run.records[0].metric("prompt_top1")
    assert metric.se == pytest.approx((0.75 * 0.25 / 10_000) ** 0.5)
    assert run.records[0].metric("prompt_mean_recall").se is None
    assert run.records[0].data == ours.records[0].data


MODELS = {
    "local": {"pretrained": {"model": "local-dir:/models/m0"}},
    "hub": {"pretrained": {"model": "hf-hub:somebody/m1"}},
    "tag": {"pretrained": {"model": "ViT-B-32", "tag": "openai"}},
    "file": {"pretrained": {"model": "tiny.json", "checkpoint": "weights/mine.safetensors"}},
    "bf16": {"pretrained": {"model": "ViT-B-32", "tag": "openai"}, "precision": "bf16"},
    "trained": {"latent_dim": 8},
}


@pytest.mark.parametrize("model", MODELS)
def test_imported_export_pairs_with_its_record(model, store, make_record, tmp_path):
    spec = model_spec(family="clip", **MODELS[model])
    with store.writer("my", None) as writer:
        for seed in range(2):
            record = make_record(prompt_top1=0.75, n=10_000, data="torchvision:food101?size=224", seed=seed)
            names = {"model": RecordedModel.of(spec), "model_label": spec.label}
            writer.append(record.model_copy(update={**names, "model_series": spec.series}))
        ours = read(writer.finish())
    run = imported(store, *export(ours, "clip-benchmark", tmp_path / "out"), same_images=ours)
    (theirs,) = rows(run.last_records)
    (row,) = rows(ours.last_records)
    assert (theirs.label, theirs.data, len(theirs.records)) == (row.label, row.data, 2)
    comparison = compare(run, ours, shipped(), across_environments=True)
    assert {each.metric: each.verdict for each in comparison.findings}["prompt_top1"] == "ok"


def test_a_result_is_compared_with_ours_by_name(store, write, make_record):
    with store.writer("my", None) as writer:
        record = make_record(family="pca", prompt_top1=0.8983, data="wds:cifar10", n=10_000)
        writer.append(
            record.model_copy(
                update={"model": record.model.named("ViT-B-32 openai", "x"), "model_label": "ViT-B-32 openai"}
            )
        )
        ours = read(writer.finish())
    run = imported(store, write(), same_images=ours, names={"cifar10": "wds:cifar10"})
    comparison = compare(run, ours, shipped(), across_environments=True)
    assert {each.metric: each.verdict for each in comparison.findings}["prompt_top1"] == "ok"
    assert "ViT-B-32 openai: compared by its name; measured by CLIP_benchmark" in comparison.notes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "linear_probe"}, "one.json: task must be 'zeroshot_classification', got 'linear_probe'"),
        ({"metrics": {"acc1": 63.3}}, "one.json: metrics.acc1"),
        ({"metrics": {"loss": 0.1}}, "metrics must have one of acc1, acc5, mean_per_class_recall"),
        ({"model": ""}, "one.json: model"),
    ],
)
def test_a_file_that_is_no_result_is_named(store, write, changes, message):
    with pytest.raises(LatentbenchError, match=message):
        imported(store, write(**changes))
    assert store.paths() == []


def test_results_given_twice_and_unknown_names_are_named(store, write, tmp_path):
    with pytest.raises(LatentbenchError, match=r"two\.json: ViT-B-32 openai on cifar10 is given twice"):
        imported(store, write(), write("two.json"))
    with pytest.raises(LatentbenchError, match="--name: unknown data set 'cifar'"):
        imported(store, write(), names={"cifar": "x"})
    (tmp_path / "one.json").write_text("{")
    with pytest.raises(LatentbenchError, match=r"one\.json: not JSON"):
        imported(store, tmp_path)
