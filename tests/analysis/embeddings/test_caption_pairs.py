"""Pairs from files: accuracies are those of CLIP_benchmark, with controls and intervals that count images."""

import json

import numpy as np
import open_clip
import pytest
import torch
from clip_benchmark.datasets.builder import image_captions_collate_fn
from clip_benchmark.datasets.sugar_crepe import SugarCrepe
from clip_benchmark.metrics.image_caption_selection import evaluate
from PIL import Image
from shared.open_clip_models import save_model
from torch.utils.data import DataLoader

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.prompts.own_vectors import own_vectors
from latentbench.analysis.statistics.intervals import clustered_se
from latentbench.data import load
from latentbench.data.reading.image_files import read_as_clip_benchmark
from latentbench.models import zoo
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe

THINGS = ("dog", "bus", "tree", "red cup", "boat")
COUNT = 12


def pairs_of(draws, per_image):
    """Several pairs for each image, so that pairs of one image depend on each other."""
    rows = {}
    for number in range(COUNT * per_image):
        right, wrong = draws.choice(THINGS, 2, replace=False)
        rows[str(3 * number)] = {
            "filename": f"{number // per_image:012}.jpg",
            "caption": f"a {right} by a lake",
            "negative_caption": f"a {wrong} by a lake",
        }
    return rows


KINDS = ("RGB", "P", "RGBA", "L", "I;16", "LA")


def as_kind(image, mode):
    """An image in another mode, half transparent where that is possible."""
    if mode == "P":
        return image.quantize(16)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 2)
    image = image.convert(mode)
    if image.mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, draws = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    (folder / "val2017").mkdir()
    for number in range(COUNT):
        colours = draws.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        image = as_kind(Image.fromarray(colours).resize((60, 40)), KINDS[number % len(KINDS)])
        # The content of a file decides its format, here and in Pillow.
        image.save(folder / f"val2017/{number:012}.jpg", "JPEG" if image.mode == "RGB" else "PNG")
    for kind, per_image in (("replace_obj", 1), ("swap_att", 3)):
        (folder / f"{kind}.json").write_text(json.dumps(pairs_of(draws, per_image)))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def measure(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))

    def measured(data):
        spec = zoo.model_spec(family="clip", pretrained={"model": f"local-dir:{checkpoint}"})
        spec = zoo.resolve(spec, data, Resolver(checkpoint))
        model = zoo.train_or_load(zoo.Training(spec, Recipe(), 0), data).model
        return ANALYSES["hard_negatives"].measure(Subject(model, DataContext(data), seed=0))

    return measured


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


def vectors(checkpoint, folder, kind):
    """Unit vectors of the images, captions and negatives of a file, by open_clip alone."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{checkpoint}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{checkpoint}")
    rows = json.loads((folder / f"{kind}.json").read_text()).values()
    images = [transform(Image.open(folder / "val2017" / row["filename"])) for row in rows]
    with torch.inference_mode():
        yield model.eval().encode_image(torch.stack(images), normalize=True)
        for key in ("caption", "negative_caption"):
            yield model.encode_text(tokenizer([row[key] for row in rows]), normalize=True)


def test_each_file_has_the_accuracy_of_clip_benchmark(measure, folder, checkpoint):
    found = by_name(measure(load(f"pairs:{folder}")))
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{checkpoint}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{checkpoint}")
    for kind, count in (("replace_obj", COUNT), ("swap_att", 3 * COUNT)):
        data = SugarCrepe(str(folder / "val2017"), folder / f"{kind}.json", transform=transform)
        rows = DataLoader(data, batch_size=5, collate_fn=image_captions_collate_fn)
        expected = evaluate(model.eval(), rows, tokenizer, "cpu", amp=False)["text_acc"]
        assert found[f"pair_accuracy ({kind})"].value == pytest.approx(expected, abs=1e-6)
        assert found[f"pair_accuracy ({kind})"].n == count
    parts = [found[f"pair_accuracy ({kind})"] for kind in ("replace_obj", "swap_att")]
    assert 0 < parts[1].value < 1
    mean = sum(part.value * part.n for part in parts) / (4 * COUNT)
    assert found["native_hard_negatives"].value == pytest.approx(mean)


def test_images_with_pairs_are_those_of_clip_benchmark(measure, folder, checkpoint):
    """CLIP_benchmark converts them only after they are scaled, unlike images of classes."""
    data = load(f"pairs:{folder}")
    spec = zoo.model_spec(family="clip", pretrained={"model": f"local-dir:{checkpoint}"})
    spec = zoo.resolve(spec, data, Resolver(checkpoint))
    model = zoo.train_or_load(zoo.Training(spec, Recipe(), 0), data).model
    image, _, _ = vectors(checkpoint, folder, "replace_obj")
    subject = Subject(model, DataContext(data), seed=0)
    found = own_vectors(subject)
    converted = own_vectors(subject, read_as_clip_benchmark)
    assert not torch.allclose(converted.vectors, image, atol=2e-6)
    assert torch.allclose(found.vectors, image, atol=2e-6)
    assert found.readable.all()


def test_the_blind_score_sees_no_image(measure, folder, checkpoint):
    found = by_name(measure(load(f"pairs:{folder}")))
    for kind in ("replace_obj", "swap_att"):
        image, right, wrong = vectors(checkpoint, folder, kind)
        average = image.unique(dim=0).mean(0)
        expected = (right @ average > wrong @ average).double().mean().item()
        assert found[f"pair_accuracy_blind ({kind})"].value == pytest.approx(expected)


def test_the_shuffled_score_sees_the_image_of_another_pair(measure, folder, checkpoint, tmp_path):
    """With two pairs there is one way to shuffle them."""
    rows = list(json.loads((folder / "replace_obj.json").read_text()).items())
    scores = []
    for first in range(0, COUNT, 2):
        two = tmp_path / str(first)
        two.mkdir()
        (two / "val2017").symlink_to(folder / "val2017")
        (two / "replace_obj.json").write_text(json.dumps(dict(rows[first : first + 2])))
        image, right, wrong = vectors(checkpoint, two, "replace_obj")
        other = image.flip(0)
        expected = ((other * right).sum(1) > (other * wrong).sum(1)).double().mean().item()
        found = by_name(measure(load(f"pairs:{two}")))["pair_accuracy_shuffled (replace_obj)"]
        assert found.value == pytest.approx(expected)
        scores.append(found.value)
    assert len(set(scores)) > 1


def test_errors_count_images_and_not_pairs(measure, folder):
    measured = measure(load(f"pairs:{folder}"))
    metric = by_name(measured)["pair_accuracy (swap_att)"]
    values, images = (each["pair_accuracy (swap_att)"] for each in (measured.examples, measured.clusters))
    assert len(np.unique(images)) == COUNT
    assert metric.n == len(values) == 3 * COUNT
    assert values.mean() == pytest.approx(metric.value)
    assert metric.se == pytest.approx(clustered_se(values, images))


def test_a_missing_image_is_a_miss(measure, folder, tmp_path):
    (tmp_path / "val2017").mkdir()
    (tmp_path / "swap_att.json").write_bytes((folder / "swap_att.json").read_bytes())
    for file in (folder / "val2017").iterdir():
        (tmp_path / "val2017" / file.name).symlink_to(file)
    before = measure(load(f"pairs:{tmp_path}"))
    won = before.examples["pair_accuracy (swap_att)"]
    lost = int(np.flatnonzero(won)[0])
    (tmp_path / f"val2017/{lost // 3:012}.jpg").unlink()
    after = measure(load(f"pairs:{tmp_path}"))
    expected = won.copy()
    expected[lost // 3 * 3 : lost // 3 * 3 + 3] = 0
    assert after.examples["pair_accuracy (swap_att)"].tolist() == expected.tolist()
    assert by_name(after)["pair_accuracy_shuffled (swap_att)"].n <= 3 * COUNT - 3


def test_a_model_without_text_encoder_is_null(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    data = load(f"pairs:{folder}?size=16")
    spec = zoo.resolve(zoo.model_spec(family="pixels"), data)
    model = zoo.train_or_load(zoo.Training(spec, Recipe(), 0), data).model
    measured = ANALYSES["hard_negatives"].measure(Subject(model, DataContext(data), seed=0))
    assert {metric.reason for metric in measured.metrics} == {"no text encoder"}
