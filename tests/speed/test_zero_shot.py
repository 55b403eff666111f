"""Zero-shot classification from image files against CLIP_benchmark: same images, checkpoint and templates.

Run with `pytest tests/speed -k zero_shot -s`. Both read the files, preprocess them, encode images and texts
and score; the ratio is the rival's median over ours, and both must reach the same top-1, top-5 and mean
per-class recall to 1e-6. The model is a ViT-B-32 of one layer, with random weights: what is compared is the
work and its result, not how good the result is.
"""

import json

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.datasets import ImageFolder

from latentbench import data as datasets
from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.core.subject import Subject
from latentbench.models import zoo
from latentbench.models.training.recipe import Recipe

rival_module = pytest.importorskip(
    "clip_benchmark.metrics.zeroshot_classification", reason="the rival clip-benchmark is not installed"
)

DEVICE = find_device("auto")
CLASSES, IMAGES, SIDE, ROUNDS = 15, 6, 224, 3
TEMPLATES = ["a photo of a {}.", "a drawing of a {}.", "a small {}.", "a large {}.", "the {} in the picture."]
BATCH = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photograph-sized images of noise around a colour of each class, with the classes' names."""
    root = tmp_path_factory.mktemp("images")
    draws = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / f"n{label:02}").mkdir()
        colour = draws.integers(40, 215, 3)
        for index in range(IMAGES):
            blocks = draws.integers(-40, 40, (12, 16, 3)) + colour
            picture = Image.fromarray(blocks.clip(0, 255).astype(np.uint8)).resize((400, 300))
            picture.save(root / f"n{label:02}" / f"{index}.jpg", quality=90)
    (root / "classes.txt").write_text("\n".join(f"thing number {label}" for label in range(CLASSES)))
    (root / "templates.txt").write_text("\n".join(TEMPLATES))
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An architecture and its weights, as files."""
    root = tmp_path_factory.mktemp("model")
    config = open_clip.get_model_config("ViT-B-32")
    config["vision_cfg"]["layers"] = config["text_cfg"]["layers"] = 1
    (root / "short.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    towers = open_clip.CLIP(**config).eval()
    safetensors.torch.save_model(towers, root / "short.safetensors")
    return root, towers


def accuracy(output, target, topk):
    """The rival's own, but for its last step, where it turns an array of one number into a number.

    NumPy no longer allows that, so that CLIP_benchmark 1.6 cannot count its hits.
    """
    correct = output.topk(max(topk), 1, True, True)[1].t().eq(target.view(1, -1))
    return [float(correct[:k].sum()) / len(target) for k in topk]


def test_zero_shot_classification_from_files(folder, checkpoint, side_by_side, say, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(rival_module, "accuracy", accuracy)
    root, towers = checkpoint
    source = {"model": str(root / "short.json"), "checkpoint": str(root / "short.safetensors")}
    spec = zoo.resolve(zoo.model_spec(pretrained=source), datasets.load(f"folder:{folder}"))
    training = zoo.Training(spec, Recipe(), 0)
    model = zoo.train_or_load(training, datasets.load(f"folder:{folder}"), device=DEVICE).model
    towers.to(DEVICE)
    names = (folder / "classes.txt").read_text().splitlines()
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    transform = image_transform_v2(PreprocessCfg(size=SIDE), is_train=False)

    def ours():
        subject = Subject(model, DataContext(datasets.load(f"folder:{folder}"), device=DEVICE), seed=0)
        metrics = {metric.name: metric.value for metric in ANALYSES["prompts"].measure(subject).metrics}
        return [metrics[name] for name in ("prompt_top1", "prompt_top5", "prompt_mean_recall")]

    def rival():
        images = ImageFolder(folder, transform)
        loader = torch.utils.data.DataLoader(images, batch_size=BATCH)
        templates = [template.replace("{}", "{c}") for template in TEMPLATES]
        found = rival_module.evaluate(towers, loader, tokenizer, names, templates, DEVICE.type, amp=False)
        return [found[name] for name in ("acc1", "acc5", "mean_per_class_recall")]

    found = side_by_side(ours, rival, rounds=ROUNDS)
    assert found.value == pytest.approx(found.rival_value, abs=1e-6)
    say(
        f"zero-shot classification, {CLASSES * IMAGES} photographs, {CLASSES} classes × {len(TEMPLATES)} "
        f"templates, {DEVICE.type}",
        found,
        "CLIP_benchmark",
        f"the same top-1, top-5, mean recall: {', '.join(f'{value:.4f}' for value in found.value)}",
    )
