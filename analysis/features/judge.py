"""The judge: a small frozen classifier of the data's own classes, whose features the image metrics use.

Precedent: the kernel distance's authors judge MNIST samples by an MNIST classifier (Bińkowski et al.
2018, arXiv:1801.01401), since features of natural photographs say little about digits. A judge is known
by the hash of its weights, and two numbers are comparable only where that hash is the same: so the
weights for MNIST and Fashion-MNIST are part of the package, and those for other data are trained once
and kept. A zoo model's own encoder is never a judge.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import platformdirs
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models.seeds import derive, generator

ARCHITECTURE = "judge-1"
"""Bumped with any change to the network or to what its features are."""

FEATURES = 64
BATCH = 1000
SHIPPED = Path(__file__).parent / "judges"
NO_JUDGE = "no judge: the data has no labels to train one on"
"""The reason a metric gives where `load_judge` returned None."""

Progress = Callable[[int, int], None]
"""Called after every training step with the steps done and their total."""


@dataclass(frozen=True, eq=False)
class JudgedImages:
    """What a judge sees in N images, on the CPU: `features` float32 `[N, 64]`, `probabilities` float32
    `[N, K]` over the data's K classes."""

    features: Tensor
    probabilities: Tensor

    @cached_property
    def predictions(self) -> Tensor:
        """The likeliest class, int64 `[N]`."""
        return self.probabilities.argmax(1)


class JudgeNetwork(nn.Module):
    """Three convolutions and two linear layers, for images of 8 px and more a side.

    The features are the penultimate layer before its ReLU: none is constantly zero, so they have a
    covariance of full rank and few exact duplicates.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(576, FEATURES),
        )
        self.classifier = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [0, 1] `[B, C, H, W]` to features `[B, 64]` and class logits `[B, K]`."""
        features = self.features(images.contiguous(memory_format=torch.channels_last))
        return features, self.classifier(F.relu(features))


@dataclass(frozen=True)
class JudgeRecipe:
    """How a judge is trained: AdamW on a one-cycle schedule over randomly shifted images."""

    epochs: int = 8
    smallest_steps: int = 1000
    """Small data are repeated for at least this many steps."""
    batch_size: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    shift: int = 1
    """Largest shift of a batch, pixels, in either direction; the image wraps around."""


@dataclass(frozen=True, eq=False)
class Judge:
    """A trained, frozen classifier.

    `hash` is the sha256 of its weights, `accuracy` its share of right answers on the test images,
    `data` the fingerprint of the data it was trained on, `recipe` how.
    """

    network: JudgeNetwork
    hash: str
    accuracy: float
    data: str
    recipe: JudgeRecipe = JudgeRecipe()

    @torch.inference_mode()
    def view(self, images: Tensor, *, device: torch.device | str = "cpu") -> JudgedImages:
        """Judge float images in [0, 1] `[N, C, H, W]`, computed on `device` in batches, in full float32."""
        network = self.network.to(device)
        views = []
        # TF32, the default for convolutions on a GPU, would change features in their third digit.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for batch in images.split(BATCH):
                features, logits = network(batch.to(device))
                views.append((features.cpu(), logits.softmax(1).cpu()))
        features, probabilities = zip(*views, strict=True)
        return JudgedImages(torch.cat(features), torch.cat(probabilities))


def weights_hash(network: nn.Module) -> str:
    """sha256 (hex) of every parameter and buffer: names, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


# Training


def train_judge(
    data: ImageData,
    *,
    recipe: JudgeRecipe | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Judge:
    """Train a judge on the train split and measure it on the test split.

    Raises LatentbenchError where the data have no labels or fewer than two classes.
    """
    if not can_be_judged(data):
        raise LatentbenchError(f"{data.name}: a judge needs two labelled train images and two classes")
    recipe = recipe or JudgeRecipe()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "judge"))
        network = JudgeNetwork(data.image_shape[0], len(data.classes))
    network = network.to(device).to(memory_format=torch.channels_last)
    _fit(network, data.train, recipe, generator(seed, "judge order"), progress)
    network.eval().requires_grad_(False)
    judge = Judge(network, weights_hash(network), math.nan, data.fingerprint, recipe)
    return replace(judge, accuracy=accuracy(judge, data.test, device))


def can_be_judged(data: ImageData) -> bool:
    """Whether a judge can be trained and tested: both splits labelled, two classes or more, two images."""
    labelled = data.train.labels is not None and data.test.labels is not None
    return labelled and len(data.classes) >= 2 and len(data.train) >= 2


def accuracy(judge: Judge, split: Split, device: torch.device | str = "cpu") -> float:
    """Share of a labelled split's images that the judge classifies rightly, in [0, 1]."""
    assert split.labels is not None
    predictions = judge.view(split.images.float() / 255, device=device).predictions
    return (predictions == split.labels).double().mean().item()


def _fit(
    network: JudgeNetwork, train: Split, recipe: JudgeRecipe, draws: Generator, progress: Progress | None
) -> None:
    assert train.labels is not None
    device = next(network.parameters()).device
    images, labels = train.images.to(device), train.labels.to(device)
    steps_per_epoch = math.ceil(len(images) / recipe.batch_size)
    epochs = max(recipe.epochs, math.ceil(recipe.smallest_steps / steps_per_epoch))
    total = epochs * steps_per_epoch
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=total, pct_start=0.2
    )
    network.train()
    for step in range(total):
        if step % steps_per_epoch == 0:
            order = torch.randperm(len(images), generator=draws)
        chosen = order[step % steps_per_epoch :: steps_per_epoch].to(device)
        shift = torch.randint(-recipe.shift, recipe.shift + 1, (2,), generator=draws).tolist()
        batch = (images[chosen].float() / 255).roll(shift, (2, 3))
        _, logits = network(batch)
        loss = F.cross_entropy(logits, labels[chosen], label_smoothing=recipe.label_smoothing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, total)


# Keeping judges: a JSON file says what the weights beside it are.


def load_judge(
    data: ImageData, *, device: torch.device | str = "cpu", progress: Progress | None = None
) -> Judge | None:
    """The judge of a data set: the package's own, the cached one, or one trained now and cached.

    None where the data have no labels, or one class only: a metric that needs a judge is then null,
    for the reason `NO_JUDGE`. The cache is `LATENTBENCH_CACHE`/judges, by default in the user's cache
    folder. Raises LatentbenchError for a judge's file that is damaged or is not what it says.
    """
    if not can_be_judged(data):
        return None
    for folder in (SHIPPED, cache_folder()):
        card = find_card(folder, data.fingerprint)
        if card is not None:
            return read_judge(card)
    judge = train_judge(data, device=device, progress=progress)
    write_judge(judge, cache_folder(), f"{ARCHITECTURE}-{data.fingerprint[:16]}", n=len(data.test))
    return judge


def cache_folder() -> Path:
    """Where judges trained on this machine are kept."""
    root = os.environ.get("LATENTBENCH_CACHE")
    return (Path(root) if root else platformdirs.user_cache_path("latentbench")) / "judges"


def find_card(folder: Path, fingerprint: str) -> Path | None:
    """The JSON file in `folder` of a judge for the data with this fingerprint; None where there is none."""
    for card in sorted(folder.glob("*.json")):
        content = _read_card(card)
        if content["data"] == fingerprint and content["architecture"] == ARCHITECTURE:
            return card
    return None


def write_judge(judge: Judge, folder: Path, name: str, *, n: int) -> Path:
    """Write `name`.json and the weights it refers to; `n` is the number of test images behind the accuracy.

    The weights' file is named by their hash and the JSON is put in place last, so a reader never sees
    one judge's card beside another's weights.
    """
    network = judge.network.cpu()
    weights = f"{name}-{judge.hash[:8]}.safetensors"
    card = {
        "architecture": ARCHITECTURE,
        "weights": weights,
        "hash": judge.hash,
        "channels": network.features[0].in_channels,
        "classes": network.classifier.out_features,
        "data": judge.data,
        "accuracy": judge.accuracy,
        "n": n,
        "recipe": asdict(judge.recipe),
        "torch": torch.__version__,
    }
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    _in_place(folder / weights, lambda path: save_file(tensors, path))
    text = json.dumps(card, indent=2) + "\n"
    _in_place(folder / f"{name}.json", lambda path: path.write_text(text, encoding="utf-8"))
    return folder / f"{name}.json"


def read_judge(card: Path) -> Judge:
    """Read the judge that a JSON file describes, and verify the hash of its weights."""
    content = _read_card(card)
    path = card.parent / Path(content["weights"]).name
    try:
        network = JudgeNetwork(content["channels"], content["classes"])
        recipe = JudgeRecipe(**content["recipe"])
    except (TypeError, ValueError, RuntimeError) as error:
        raise _unusable(card, f"not a judge's card: {error}") from error
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _unusable(path, f"not this judge's weights ({type(error).__name__})") from error
    if weights_hash(network) != content["hash"]:
        raise _unusable(path, f"its weights do not have the hash that {card.name} states")
    network = network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return Judge(network, content["hash"], content["accuracy"], content["data"], recipe)


def _read_card(card: Path) -> dict[str, Any]:
    needed = {"architecture": str, "weights": str, "hash": str, "channels": int, "classes": int}
    needed |= {"data": str, "accuracy": float, "recipe": dict}
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unusable(card, f"not readable as JSON ({type(error).__name__})") from error
    for key, kind in needed.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            raise _unusable(card, f"not a judge's card: {key!r} must be a {kind.__name__}")
    return dict(content)


def _unusable(path: Path, why: str) -> LatentbenchError:
    if path.parent == SHIPPED:
        remedy = "reinstall latentbench"
    else:
        remedy = "delete it together with its .json, and a new judge will be trained"
    return LatentbenchError(f"{path}: {why}; {remedy}")


def _in_place(path: Path, write: Callable[[Path], object]) -> None:
    """Write through a temporary file beside `path`, then rename: `path` is whole or absent."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(descriptor)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
