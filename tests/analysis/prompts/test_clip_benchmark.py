"""Zero-shot accuracy is that of CLIP_benchmark, for many kinds of model and of image file.

CLIP_benchmark's own code, or torchvision's, opens the files; nothing of latentbench is in its numbers.
"""

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import open_clip
import pytest
import torch
from clip_benchmark.datasets.builder import build_dataset
from clip_benchmark.metrics.zeroshot_classification import run_classification, zero_shot_classifier
from PIL import Image
from shared.open_clip_models import TEXT, TINY, VISION, save_model
from shared.torchvision_layouts import LAYOUTS
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from transformers import PreTrainedTokenizerFast

from latentbench.analysis import measure
from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.prompts.explain_accuracy import explain_accuracy
from latentbench.analysis.prompts.own_vectors import own_vectors
from latentbench.analysis.prompts.questions import embed, question
from latentbench.data import load
from latentbench.data.errors import LatentbenchError
from latentbench.data.reading.image_files import read_as_clip_benchmark, read_image
from latentbench.models import zoo
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe

datasets = pytest.importorskip("datasets")

CLASSES = ("ant", "bee", "cow", "dog", "eel", "fox")
TEMPLATES = ("a photo of a {}.", "the {} at night")
SIGLIP = {
    "embed_dim": 16,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": VISION,
    "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True},
}
TIMM = {
    "embed_dim": 16,
    "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "image_size": 160},
    "text_cfg": TEXT,
}
CONFIGURATIONS = {
    "quick_gelu": ({**TINY, "quick_gelu": True}, {}),
    "siglip": (
        SIGLIP,
        {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bilinear",
            "resize_mode": "squash",
        },
    ),
    "timm": (TIMM, {"mean": [0.1, 0.2, 0.3], "std": [0.9, 0.8, 0.7]}),
    "hugging_face_tokenizer": (TINY, {"resize_mode": "longest", "fill_color": 127}),
}


def picture(draws, width, height):
    """Noise on a gradient, which a wrong crop or filter changes."""
    ramp = np.linspace(0, 200, width)[None, :, None] + np.linspace(0, 50, height)[:, None, None]
    return (ramp + draws.integers(0, 6, (height, width, 3))).astype(np.uint8)


def save_all_kinds(folder, draws):
    """A PNG, a JPEG, one turned by its EXIF, a transparent, a palette, a 16-bit and a very long image."""
    large = Image.fromarray(picture(draws, 90, 60))
    large.save(folder / "0.png")
    large.save(folder / "1.jpg", quality=90)
    turned = Image.Exif()
    turned[0x0112] = 6
    large.save(folder / "2.jpg", exif=turned)
    transparent = large.convert("RGBA")
    transparent.putalpha(Image.fromarray(draws.integers(0, 256, (60, 90), dtype=np.uint8)))
    transparent.save(folder / "3.png")
    large.quantize(32).save(folder / "4.png")
    deep = picture(draws, 70, 80)[:, :, 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "5.png")
    Image.fromarray(picture(draws, 701, 35)).save(folder / "6.png")


def in_tar_files(folder, images):
    """The images in the layout of CLIP_benchmark, in two tar files."""
    test = folder / "test"
    test.mkdir()
    samples = [
        (path, label) for label, name in enumerate(CLASSES) for path in sorted((images / name).iterdir())
    ]
    for number, shard in enumerate((samples[:20], samples[20:])):
        with tarfile.open(test / f"{number}.tar", "w") as tar:
            for key, (path, label) in enumerate(shard):
                for suffix, content in ((path.suffix, path.read_bytes()), (".cls", str(label).encode())):
                    member = tarfile.TarInfo(f"s{key:07d}{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    (test / "nshards.txt").write_text("2")
    (folder / "classnames.txt").write_text("\n".join(CLASSES))
    templates = "\n".join(template.replace("{}", "{c}") for template in TEMPLATES)
    (folder / "zeroshot_classification_templates.txt").write_text(templates)
    return folder


@pytest.fixture(scope="module")
def tars(images, tmp_path_factory):
    return in_tar_files(tmp_path_factory.mktemp("tars"), images)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    draws = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir()
        save_all_kinds(folder / name, draws)
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    (folder / "templates.txt").write_text("\n".join(TEMPLATES))
    return folder


def save_tokenizer(folder):
    """A tokenizer in the format of Hugging Face, as `save_pretrained` writes it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = " ".join([*TEMPLATES, *CLASSES]).replace("{}", "").replace(".", " .").split()
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *dict.fromkeys(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)


@pytest.fixture(params=CONFIGURATIONS)
def checkpoint(request, tmp_path, monkeypatch):
    """A folder as open_clip pushes it to the hub, with random weights."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    architecture, preprocessing = CONFIGURATIONS[request.param]
    if request.param == "hugging_face_tokenizer":
        save_tokenizer(tmp_path)
        text = {**TEXT, "hf_tokenizer_name": str(tmp_path)}
        architecture = {**architecture, "text_cfg": text}
    return save_model(tmp_path, architecture, preprocessing)


@dataclass(frozen=True)
class Opened:
    """Rows of Hugging Face's library, which opens the images, as CLIP_benchmark's own class WinoGround."""

    rows: "datasets.Dataset"
    transform: Callable

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return self.transform(row["image"]), row["label"]


@pytest.fixture(scope="module")
def table(images):
    """The same images as rows of Hugging Face's library."""
    samples = [
        (path, label) for label, name in enumerate(CLASSES) for path in sorted((images / name).iterdir())
    ]
    columns = {"image": [str(path) for path, _ in samples], "label": [label for _, label in samples]}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(CLASSES)))
    return datasets.Dataset.from_dict(columns, features=features, split="test")


@pytest.fixture
def saved(table, tmp_path, monkeypatch):
    """Two folders with these rows."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    datasets.DatasetDict(test=table).save_to_disk(tmp_path / "saved")
    (tmp_path / "parquet").mkdir()
    table.to_parquet(tmp_path / "parquet" / "test-00000-of-00001.parquet")
    for folder in ("saved", "parquet"):
        (tmp_path / folder / "templates.txt").write_text("\n".join(TEMPLATES))
    return tmp_path


def ours(checkpoint, data):
    spec = zoo.model_spec(family="clip", pretrained={"model": f"local-dir:{checkpoint}"})
    spec = zoo.resolve(spec, data, Resolver(checkpoint))
    model = zoo.train_or_load(zoo.Training(spec, Recipe(), 0), data).model
    subject = Subject(model, DataContext(data), seed=0)
    measured = ANALYSES["prompts"].measure(subject)
    cosines = embed(subject, model, question(data)).scores
    return {metric.name: metric.value for metric in measured.metrics}, cosines


def theirs(checkpoint, name, root):
    """Return the values of CLIP_benchmark on the same files, opened by its own code."""
    location = f"local-dir:{checkpoint}"
    model, _, transform = open_clip.create_model_and_transforms(location, require_pretrained=True)
    templates = [template.replace("{}", "{c}") for template in TEMPLATES]
    if name == "folder":
        rows, classes = ImageFolder(root, transform=transform), CLASSES
    elif name == "hugging face":
        rows, classes = Opened(root, transform), root.features["label"].names
    else:
        rows = build_dataset(name, root=str(root), transform=transform, download=False)
        classes, templates = rows.classes, rows.templates
    tokenizer = open_clip.get_tokenizer(f"local-dir:{checkpoint}")
    texts = zero_shot_classifier(model.eval(), tokenizer, list(classes), templates, "cpu", amp=False)
    scores, truth = run_classification(model, texts, DataLoader(rows, batch_size=7), "cpu", amp=False)
    labels = range(len(classes))
    shares = {
        "prompt_top1": top_k_accuracy_score(truth, scores, k=1, labels=labels),
        "prompt_top5": top_k_accuracy_score(truth, scores, k=5, labels=labels),
        "prompt_mean_recall": balanced_accuracy_score(truth, scores.argmax(1)),
    }
    return shares, scores / 100  # CLIP_benchmark's fixed temperature


def assert_equal(ours, theirs):
    (found, cosines), (expected, scores) = ours, theirs
    assert torch.allclose(cosines, scores, atol=2e-6)
    assert scores.std(0).min() > 1e-4  # the images are told apart
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_the_numbers_are_those_of_clip_benchmark(checkpoint, images):
    assert_equal(ours(checkpoint, load(f"folder:{images}")), theirs(checkpoint, "folder", images))


@pytest.mark.filterwarnings("ignore:WebDataset")
def test_numbers_of_tar_files_are_those_of_clip_benchmark(checkpoint, tars):
    assert_equal(ours(checkpoint, load(f"wds:{tars}")), theirs(checkpoint, "wds/animals", tars))


@pytest.mark.parametrize("form", ["saved", "parquet"])
def test_numbers_of_hub_data_are_those_of_clip_benchmark(checkpoint, table, saved, form):
    data = load(f"hf:{saved / form}")
    in_our_order = table.select([int(name.partition("/")[2]) for name in data.originals.names])
    assert_equal(ours(checkpoint, data), theirs(checkpoint, "hugging face", in_our_order))


@pytest.mark.parametrize("checkpoint", ["quick_gelu"], indirect=True)
def test_axes_are_fitted_to_what_the_model_sees(checkpoint, table, tmp_path, monkeypatch):
    """Pixels of train images, which other models are trained on, are no originals."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    datasets.DatasetDict(train=table, test=table).save_to_disk(tmp_path / "splits")
    spec = zoo.model_spec(family="clip", pretrained={"model": f"local-dir:{checkpoint}"})
    found = []
    for size in (8, 40):
        data = load(f"hf:{tmp_path / 'splits'}?size={size}")
        assert not data.test_only
        resolved = zoo.resolve(spec, data, Resolver(checkpoint))
        model = zoo.train_or_load(zoo.Training(resolved, Recipe(), 0), data).model
        found.append(
            ANALYSES["prompts"].measure(Subject(model, DataContext(data), seed=0)).arrays["curve_pca"]
        )
    assert np.array_equal(*found)


@pytest.mark.parametrize("checkpoint", ["quick_gelu"], indirect=True)
def test_measure_refuses_pixels_smaller_than_the_model(checkpoint, table, tmp_path, monkeypatch):
    """As a suite does: words need the originals alone, and other analyses the pixels."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    datasets.DatasetDict(train=table, test=table).save_to_disk(tmp_path / "splits")
    spec = zoo.model_spec(family="clip", pretrained={"model": f"local-dir:{checkpoint}"})
    data = load(f"hf:{tmp_path / 'splits'}?size=8")
    resolved = zoo.resolve(spec, data, Resolver(checkpoint))
    model = zoo.train_or_load(zoo.Training(resolved, Recipe(), 0), data).model
    assert measure(model, data, analyses="prompts")["prompt_top1"].n == len(table)
    with pytest.raises(LatentbenchError, match=r"takes images of 32 pixels, .*; use hf:.*\?size=32"):
        measure(model, data, analyses=["prompts", "latent_health"])


@pytest.mark.parametrize("checkpoint", ["quick_gelu"], indirect=True)
def test_latentbench_reader_would_change_the_numbers(checkpoint, images):
    """The kinds of file that CLIP_benchmark opens otherwise: turned, transparent and with 16 bits."""
    data = load(f"folder:{images}")
    spec = zoo.model_spec(family="clip", pretrained={"model": f"local-dir:{checkpoint}"})
    model = zoo.train_or_load(
        zoo.Training(zoo.resolve(spec, data, Resolver(checkpoint)), Recipe(), 0), data
    ).model
    subject = Subject(model, DataContext(data), seed=0)
    theirs, ours = (own_vectors(subject, reader).vectors for reader in (read_as_clip_benchmark, read_image))
    far = (theirs - ours).norm(dim=1).view(len(CLASSES), -1) > 1e-4
    assert far.all(0).tolist() == [False, False, True, True, False, True, False]
    assert far.any(0).tolist() == [False, False, True, True, False, True, False]


@pytest.mark.filterwarnings("ignore:split argument ignored")
@pytest.mark.parametrize("checkpoint", ["quick_gelu", "siglip"], indirect=True)
def test_a_published_set_has_the_numbers_of_clip_benchmark(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_DATA", str(tmp_path))
    LAYOUTS["eurosat"](tmp_path, monkeypatch)
    found, cosines = ours(checkpoint, load("torchvision:eurosat"))
    expected, scores = theirs(checkpoint, "eurosat", tmp_path)
    assert torch.allclose(cosines, scores, atol=2e-6)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_each_factor_of_the_accuracy_is_changed_alone(checkpoint, images):
    """The change is that of the accuracies, paired over the images."""
    data = load(f"folder:{images}")
    spec = zoo.model_spec(family="clip", pretrained={"model": f"local-dir:{checkpoint}"})
    spec = zoo.resolve(spec, data, Resolver(checkpoint))
    model = zoo.train_or_load(zoo.Training(spec, Recipe(), 0), data).model
    found = explain_accuracy(model, data, torch.device("cpu"))
    measured = ANALYSES["prompts"].measure(Subject(model, DataContext(data), seed=0)).metrics
    usual = {metric.name: metric.value for metric in measured}
    assert found.accuracy == pytest.approx(usual["prompt_top1"])
    assert {each.factor for each in found.effects} == {
        "file reading",
        "resize filter",
        "precision",
        "prompt set",
        "class spelling",
        "averaging",
    }
    for each in found.effects:
        assert each.change == pytest.approx(each.accuracy - found.accuracy)
        assert each.half_width > 0
        assert abs(each.change) * found.n <= each.different + 1e-9
    first = next(each for each in found.effects if "first template" in each.choice)
    alone = replace(data, templates=data.templates[:1])
    expected = ANALYSES["prompts"].measure(Subject(model, DataContext(alone), seed=0)).metrics[0]
    assert (expected.name, first.accuracy) == ("prompt_top1", pytest.approx(expected.value))


def test_the_size_of_the_data_changes_no_number(checkpoint, images):
    first, second = (ours(checkpoint, load(f"folder:{images}?size={size}"))[0] for size in (16, 64))
    assert first == second
