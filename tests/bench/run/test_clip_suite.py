"""A suite of three checkpoints of open_clip on three data sets, in the layouts that people have."""

import io
import json
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from shared.open_clip_models import save_model
from shared.torchvision_layouts import LAYOUTS
from shared.watchers import Silent, Stops

from latentbench.bench.executors.settings import ExecutorSettings
from latentbench.bench.present import tables, terminal_table
from latentbench.bench.present.rows import rows
from latentbench.bench.run import suite as suites
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.models.external.open_clip import Pretrained

CLASSES = ("ant", "bee", "cow")
TEMPLATES = ("a photo of a {}.", "the {} at night")
SUITE = """description: Three checkpoints on three data sets
data: [{name: digits, limit: 20}, folder:classes, %s]
analyses: [prompts]
models:
%s"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The checkpoints, a zero-shot folder, and other images with the same prompts as a webdataset."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for seed in range(3):
        save_model(tmp_path / f"model{seed}", seed=seed)
    draws = np.random.default_rng(0)
    (tmp_path / "tars" / "test").mkdir(parents=True)
    with tarfile.open(tmp_path / "tars" / "test" / "0.tar", "w") as tar:
        for label, name in enumerate(CLASSES):
            (tmp_path / "classes" / name).mkdir(parents=True)
            for number in range(3):
                save(draws, tmp_path / "classes" / name / f"{number}.png")
                image = io.BytesIO()
                save(draws, image)
                for suffix, content in (("png", image.getvalue()), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"s{label}{number}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    for folder, names, templates in (
        ("classes", "classes.txt", "templates.txt"),
        ("tars", "classnames.txt", "zeroshot_classification_templates.txt"),
    ):
        (tmp_path / folder / names).write_text("\n".join(CLASSES))
        (tmp_path / folder / templates).write_text("\n".join(TEMPLATES))
    return tmp_path


def save(draws, target):
    Image.fromarray(draws.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(target, format="png")


def run(home, watcher, last="wds:tars", more=""):
    models = [f'  - {{family: clip, pretrained: {{model: "local-dir:{home}/model{n}"}}}}\n' for n in range(3)]
    (home / "my.yaml").write_text(SUITE % (last, "".join(models) + more))
    options = Options(this_process=True, jobs=1)
    return run_suite(suites.load(str(home / "my.yaml")), Store(home / "results"), options, watcher)


def test_three_checkpoints_on_three_data_sets_are_one_run(home, monkeypatch):
    encoded = []
    encode = Pretrained.encode_text

    def counted(model, captions):
        encoded.append((model.spec.label, tuple(captions)))
        return encode(model, captions)

    monkeypatch.setattr(Pretrained, "encode_text", counted)
    with pytest.raises(KeyboardInterrupt):
        run(home, Stops(most=4))
    again = Stops()
    finished = run(home, again)
    assert len(again.written) == 5
    table = rows(finished.last_records)
    data = ["digits?limit=20", "folder:classes?size=224", "wds:tars?size=224"]
    assert [row.data for row in table] == [each for each in data for _ in range(3)]
    assert {row.name for row in table} == {f"model{number} on {each}" for number in range(3) for each in data}
    assert all(row.cells["prompt_top1"].value is not None for row in table)
    prompts = [each for each in encoded if len(each[1]) > 3 and "ant" in each[1][0]]
    assert len(prompts) == len(set(prompts)) == 3  # two data sets, one text encoding of each model
    for width in (80, 120):
        console = Console(file=io.StringIO(), width=width)
        console.print(terminal_table.as_rich(table, title=tables.title("my", table), width=width))
        lines = console.file.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("my: 3 data sets, 1 seed")


def test_a_bad_third_data_set_stops_the_run_first(home):
    watcher = Stops()
    with pytest.raises(LatentbenchError, match=r"^data wds:gone/\*.tar: .*no such tar files") as error:
        run(home, watcher, last='"wds:gone/*.tar"')
    assert "\n" not in str(error.value)
    assert watcher.written == []


MANY = 211


class Encoded(Silent):
    """Counts the images that models encode in each stage."""

    def __init__(self, monkeypatch):
        self.stage, self.images = "", Counter()
        encode = Pretrained.encode_image

        def counted(model, x):
            self.images[self.stage] += len(x)
            return encode(model, x)

        monkeypatch.setattr(Pretrained, "encode_image", counted)

    def stage_started(self, name, total, what):
        self.stage = name


@pytest.fixture
def many(home):
    """A suite on a prime number of images, which are four batches of files."""
    draws = np.random.default_rng(2)
    for number in range(MANY - 9):
        save(draws, home / "classes" / CLASSES[number % 3] / f"more{number}.png")
    model = f'{{family: clip, pretrained: {{model: "local-dir:{home}/model0"}}}}'
    (home / "my.yaml").write_text(
        f"description: x\ndata: folder:classes\nanalyses: [prompts, embedding_bits]\nmodels: [{model}]\n"
    )
    return suites.load(str(home / "my.yaml"))


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_encode_each_image_once_from_its_file(home, many, monkeypatch, shards):
    """No analysis uses the resized images."""
    encoded = Encoded(monkeypatch)
    sharded = Options(this_process=True, executor=ExecutorSettings(shards=shards))
    (whole,) = run_suite(many, Store(home / "whole"), Options(this_process=True), encoded).records
    assert whole.metric("prompt_top1").n == encoded.images.pop("measuring") == MANY
    (found,) = run_suite(many, Store(home / "shards"), sharded, encoded).records
    assert numbers(found) == numbers(whole)
    assert encoded.images["encoding for words"] == MANY
    assert encoded.images["measuring"] == encoded.images["encoding and decoding"] == 0


@pytest.mark.slow
def test_processes_share_the_files_of_a_pretrained_model(home, many):
    sharded = Options(jobs=2, executor=ExecutorSettings(shards=3))
    whole, found = (
        run_suite(many, Store(home / place), options, Silent()).records
        for place, options in (("whole", Options(jobs=2)), ("shards", sharded))
    )
    assert list(map(numbers, found)) == list(map(numbers, whole))


@pytest.fixture
def table(many, home, monkeypatch):
    """The same images as rows of Hugging Face's library, a third of them for training; one cannot be read."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "hf-cache")
    files = sorted((home / "classes").glob("*/*.png"))
    images = [{"bytes": file.read_bytes(), "path": None} for file in files]
    images[1] = {"bytes": b"no image", "path": None}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(CLASSES)))
    columns = {"image": images, "label": [CLASSES.index(file.parent.name) for file in files]}
    rows = datasets.Dataset.from_dict(columns, features=features)
    parts = {"train": rows.select(range(2, MANY, 3)), "test": rows.select(range(1, MANY, 3))}
    datasets.DatasetDict(parts).save_to_disk(home / "table")
    return len(parts["test"])


TABLE = """description: x
data: hf:table
analyses: [prompts, embedding_bits%s]
models:
  - {family: clip, pretrained: {model: "local-dir:%s/model0"}}
  - {family: pca, latent_dim: 4}
"""


def test_hub_data_train_models_and_have_originals(home, table, monkeypatch):
    """Models are trained on pixels, and CLIP encodes each test image once from its file; one is left out."""
    (home / "mixed.yaml").write_text(TABLE % ("", home))
    suite, encoded = suites.load(str(home / "mixed.yaml")), Encoded(monkeypatch)
    whole = run_suite(suite, Store(home / "whole"), Options(this_process=True), encoded).records
    assert encoded.images.pop("measuring") == table - 1
    sharded = Options(this_process=True, executor=ExecutorSettings(shards=2))
    found = run_suite(suite, Store(home / "shards"), sharded, encoded).records
    assert list(map(numbers, found)) == list(map(numbers, whole))
    assert encoded.images["encoding for words"] == table - 1
    for record in whole:
        assert record.data.train == MANY // 3
        assert record.data.test == table - 1
    (clip,) = (record for record in whole if record.model.family != "pca")
    assert clip.metric("prompt_top1").n == table - 1
    assert clip.metric("unreadable_images").value == 0


def test_nothing_is_decoded_for_training_if_nothing_is_trained(home, table):
    (home / "my.yaml").write_text((TABLE % ("", home)).partition("  - {family: pca")[0])
    (record,) = run_suite(
        suites.load(str(home / "my.yaml")), Store(home / "r"), Options(this_process=True), Silent()
    ).records
    assert record.data.name == "hf:table?size=224&split=test"
    assert (record.data.train, record.data.test) == (0, table)
    assert record.metric("unreadable_images").value == 1


def test_clip_sees_no_pixels_smaller_than_its_own(home, table):
    """Where an analysis needs pixels, their size has to be that of the model."""
    (home / "mixed.yaml").write_text(TABLE % (", latent_health", home))
    with pytest.raises(LatentbenchError, match=r"takes images of 32 pixels, .* use hf:table\?size=32"):
        run_suite(suites.load(str(home / "mixed.yaml")), Store(home / "r"), Options(), Silent())


def test_labels_without_names_stop_the_run(home, table):
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_from_disk(home / "table")["test"]
    rows.cast_column("label", datasets.Value("int64")).save_to_disk(home / "numbers")
    models = f'[{{family: clip, pretrained: {{model: "local-dir:{home}/model0"}}}}]'
    (home / "my.yaml").write_text(
        f"description: x\ndata: hf:numbers\nanalyses: [prompts]\nmodels: {models}\n"
    )
    with pytest.raises(
        LatentbenchError, match=r"hf:numbers: column 'label' holds whole numbers without name"
    ):
        run_suite(suites.load(str(home / "my.yaml")), Store(home / "r"), Options(), Silent())


@pytest.mark.slow
def test_processes_open_hub_data(home, table):
    (home / "mixed.yaml").write_text(TABLE % ("", home))
    suite = suites.load(str(home / "mixed.yaml"))
    whole, found = (
        {
            each.model_label: numbers(each)
            for each in run_suite(suite, Store(home / place), options, Silent()).records
        }
        for place, options in (
            ("whole", Options(this_process=True)),
            ("two", Options(jobs=2, executor=ExecutorSettings(shards=2))),
        )
    )
    assert found == whole


WORDED = """description: A published set, and captions with negatives
data: [torchvision:eurosat, pairs:pairs]
analyses: [prompts, hard_negatives]
models:
  - {family: clip, pretrained: {model: "local-dir:%s"}}
"""


def numbers(record):
    return [(metric.name, metric.value, metric.se, metric.n) for metric in record.metrics]


def test_published_sets_and_pairs_are_measured_anywhere(home, monkeypatch):
    """Jobs of Slurm, run in this process, give the values of this machine; a table has a column per file."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("LATENTBENCH_DATA", str(home))
    LAYOUTS["eurosat"](home, monkeypatch)
    (home / "pairs").mkdir()
    draws, pairs = np.random.default_rng(1), {}
    for number in range(4):
        save(draws, home / f"pairs/{number}.png")
        pairs[str(number)] = {
            "filename": f"{number}.png",
            "caption": f"{number} ants",
            "negative_caption": f"{number + 1} bees",
        }
    (home / "pairs/replace_obj.json").write_text(json.dumps(pairs))
    (home / "worded.yaml").write_text(WORDED % (home / "model0"))
    loaded = suites.load(str(home / "worded.yaml"))
    slurm = ExecutorSettings(name="slurm", cluster="debug", memory_gb=1, shards=2)
    here = run_suite(loaded, Store(home / "here"), Options(this_process=True, device="cpu"), Silent())
    there = run_suite(loaded, Store(home / "there"), Options(executor=slurm, device="cpu"), Silent())
    assert list(map(numbers, there.records)) == list(map(numbers, here.records))
    published, paired = here.records
    assert published.metric("prompt_top1").n == 11
    assert published.metric("native_hard_negatives").value is None
    assert paired.metric("pair_accuracy (replace_obj)").n == 4
    assert paired.metric("prompt_top1").value is None
    assert "pairs (replace_obj)" in tables.as_markdown(rows(here.last_records))
