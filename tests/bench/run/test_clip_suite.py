"""A suite of three checkpoints of open_clip on three data sets, in the layouts that people have."""

import io
import json
import tarfile

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from PIL import Image
from rich.console import Console
from shared.watchers import Stops

from latentbench.bench.present import tables
from latentbench.bench.present.rows import rows
from latentbench.bench.run import suite as suites
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.models.external.open_clip import Pretrained

CLASSES = ("ant", "bee", "cow")
TEMPLATES = ("a photo of a {}.", "the {} at night")
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
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
        folder = tmp_path / f"model{seed}"
        folder.mkdir()
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": {}}))
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
        safetensors.torch.save_model(model, folder / "open_clip_model.safetensors")
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


def run(home, watcher, last="wds:tars"):
    models = [f'  - {{family: clip, pretrained: {{model: "local-dir:{home}/model{n}"}}}}\n' for n in range(3)]
    (home / "my.yaml").write_text(SUITE % (last, "".join(models)))
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
        console.print(tables.as_rich(table, title=tables.title("my", table), width=width))
        lines = console.file.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("my: 3 data sets, 1 seed")


def test_a_bad_third_data_set_stops_the_run_first(home):
    watcher = Stops()
    with pytest.raises(LatentbenchError, match=r"^data wds:gone/\*.tar: .*no such tar files") as error:
        run(home, watcher, last='"wds:gone/*.tar"')
    assert "\n" not in str(error.value)
    assert watcher.written == []
