"""The judge: a small classifier trained on the same data and frozen, whose features the image metrics use.

Precedent: the authors of the kernel distance use an MNIST classifier for MNIST samples (Bińkowski et al.
2018, arXiv:1801.01401), since features of natural photographs are not informative for digits. The hash of its
weights identifies a judge, and two numbers are comparable only if their judges have the same hash: so the
weights for MNIST and Fashion-MNIST are part of the package, and those for other data are trained once
and kept (`stored_judges`). The encoder of a zoo model is never used as a judge.

One judge is one opinion: on blurred samples, which no judge was trained on, judges that differ in their seed
alone differ by up to a factor of two. So there are several (`JUDGES`), and a metric is the mean over them
(`analysis.core.ensemble`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Generator, Tensor, nn

from latentbench.analysis.statistics.fitting import EarlyStop, Progress, fit
from latentbench.analysis.statistics.intervals import wilson_interval
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models.external.state_dicts import fingerprint
from latentbench.models.seeds import derive, generator

FEATURES = 64
JUDGES = 3
"""Judges that are trained for a data set; they differ in their seed alone. The package ships five of each."""
LARGEST_SIDE, SMALLEST_SIDE = 64, 8
"""Pixels per side that a judge sees: larger images are reduced, since it judges content, not texture."""
BATCH = 1000
NO_JUDGE = "no judge: the data has no labels to train one on"
"""The reason of a metric for data without a judge."""


@dataclass(frozen=True, eq=False)
class JudgedImages:
    """The judge's output for N images, on the CPU.

    `features` are float32 `[N, 64]`, `probabilities` float32 `[N, K]` over the data's K classes.
    """

    features: Tensor
    probabilities: Tensor

    @cached_property
    def predictions(self) -> Tensor:
        """The most probable class, int64 `[N]`."""
        return self.probabilities.argmax(1)


Views = tuple[JudgedImages, ...]
"""The same images as each judge sees them."""


def joint_predictions(views: Sequence[JudgedImages]) -> Tensor:
    """The class that the judges together find most probable, int64 `[N]`."""
    return torch.stack([view.probabilities for view in views]).mean(0).argmax(1)


class JudgeNetwork(nn.Module):
    """A network of three convolutions and two linear layers, for images of at least 8 px per side.

    The features are the penultimate layer before its ReLU: none is constantly zero, so they have a
    covariance of full rank and few exact duplicates.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
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
        """Map images in [0, 1] `[B, C, H, W]` to features `[B, 64]` and class logits `[B, K]`."""
        features = self.features(images.contiguous(memory_format=torch.channels_last))
        return features, self.classifier(F.relu(features))


class JudgeRecipe(BaseModel):
    """The settings of a judge's training, on randomly shifted images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = 8
    smallest_steps: int = 600
    """Small data are repeated until there are this many steps."""
    batch_size: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    shift: int = 1
    """Largest shift of a batch in each direction, in pixels; the image wraps around."""
    held_out: float = 0.0
    """Share of the train images that the training ends by: when the accuracy on them no longer rises."""


QUICK = JudgeRecipe(held_out=0.1)
"""The recipe of judges that are trained on a user's machine: as short as the data allow."""
FEWEST_HELD_OUT, MOST_HELD_OUT = 50, 1000
"""With fewer images an accuracy is too uncertain to end a training by; more would only take longer."""


@dataclass(frozen=True, eq=False)
class Judge:
    """A trained, frozen classifier.

    `hash` is the sha256 of its weights, `accuracy` its share of correct answers on the test images, `data`
    the fingerprint of the data that it was trained on, and `recipe` the settings of that training.
    """

    network: JudgeNetwork
    hash: str
    accuracy: float
    data: str
    recipe: JudgeRecipe = field(default_factory=JudgeRecipe)

    @torch.inference_mode()
    def view(self, images: Tensor, *, device: torch.device | str = "cpu") -> JudgedImages:
        """Compute features and probabilities of float images in [0, 1] `[N, C, H, W]`, see `reduced`.

        They are computed on `device`, in batches and in full float32.
        """
        network = self.network.to(device)
        views = []
        # TF32, the default for convolutions on a GPU, would change features in their third digit.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for batch in images.split(BATCH):
                features, logits = network(reduced(batch.to(device)))
                views.append((features.cpu(), logits.softmax(1).cpu()))
        features, probabilities = zip(*views, strict=True)
        return JudgedImages(torch.cat(features), torch.cat(probabilities))


def train_judge(
    data: ImageData,
    *,
    recipe: JudgeRecipe | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Judge:
    """Train a judge on the train split and measure it on the test split.

    Raises LatentbenchError for data without labels, or with fewer than two classes.
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
    judge = Judge(network, fingerprint(network.state_dict()), math.nan, data.fingerprint, recipe)
    return replace(judge, accuracy=accuracy(judge, data.test, device))


def reduced(images: Tensor) -> Tensor:
    """Float images `[N, C, H, W]` of at most 64 px per side, larger ones averaged over areas.

    >>> reduced(torch.ones(1, 3, 512, 256)).shape, reduced(torch.ones(1, 1, 28, 28)).shape
    (torch.Size([1, 3, 64, 32]), torch.Size([1, 1, 28, 28]))
    """
    sides = images.shape[2:]
    if max(sides) <= LARGEST_SIDE:
        return images
    height, width = (max(SMALLEST_SIDE, round(side * LARGEST_SIDE / max(sides))) for side in sides)
    return F.interpolate(images, (height, width), mode="area")


def _as_seen(images: Tensor) -> Tensor:
    """uint8 images as a judge sees them, uint8: reduced once instead of in every batch."""
    if max(images.shape[2:]) <= LARGEST_SIDE:
        return images
    return torch.cat([reduced(batch.float()).round().to(torch.uint8) for batch in _in_batches(images)])


def _in_batches(images: Tensor) -> tuple[Tensor, ...]:
    """Split images `[N, C, H, W]` so that no batch has more pixels than a thousand of those seen whole."""
    height, width = images.shape[2:]
    batches: tuple[Tensor, ...] = images.split(
        max(1, min(BATCH, BATCH * LARGEST_SIDE**2 // (height * width)))
    )
    return batches


def can_be_judged(data: ImageData) -> bool:
    """True if both splits have labels, and there are two classes and two train images."""
    labelled = data.train.labels is not None and data.test.labels is not None
    return labelled and len(data.classes) >= 2 and len(data.train) >= 2


def why_not_judged(judges: Sequence[Judge], data: ImageData) -> str | None:
    """The reason why images cannot be judged: no judges, or none better than the commonest class."""
    if not judges:
        return NO_JUDGE
    labels = data.test.labels
    if labels is None:
        return None
    n, accuracy = len(labels), math.fsum(judge.accuracy for judge in judges) / len(judges)
    commonest = labels.bincount().max().item() / n
    if wilson_interval(round(accuracy * n), n)[0] > commonest:
        return None
    return (
        f"the judges are too poor: {accuracy:.1%} of {n:,} test images right, and the commonest class has "
        f"{commonest:.1%}"
    )


def accuracy(judge: Judge, split: Split, device: torch.device | str = "cpu") -> float:
    """Compute the share of a labelled split's images that the judge classifies correctly, in [0, 1]."""
    assert split.labels is not None
    views = [judge.view(batch.float() / 255, device=device) for batch in _in_batches(split.images)]
    predictions = torch.cat([view.predictions for view in views])
    return (predictions == split.labels).double().mean().item()


def _fit(
    network: JudgeNetwork, train: Split, recipe: JudgeRecipe, draws: Generator, progress: Progress | None
) -> None:
    assert train.labels is not None
    device = next(network.parameters()).device
    images, labels = _as_seen(train.images).to(device), train.labels.to(device)
    held_out, early_stop = _held_out(len(images), recipe, draws), None
    if held_out is not None:
        kept = torch.ones(len(images), dtype=torch.bool)
        kept[held_out] = False
        early_stop = EarlyStop(partial(_accuracy_on, network, images[held_out], labels[held_out]))
        images, labels = images[kept], labels[kept]
    per_epoch = math.ceil(len(images) / recipe.batch_size)
    steps = per_epoch * max(recipe.epochs, math.ceil(recipe.smallest_steps / per_epoch))
    batches = _batches(len(images), per_epoch, recipe.shift, draws)

    def loss() -> Tensor:
        chosen, shift = next(batches)
        chosen = chosen.to(device)
        _, logits = network((images[chosen].float() / 255).roll(shift, (2, 3)))
        return F.cross_entropy(logits, labels[chosen], label_smoothing=recipe.label_smoothing)

    network.train()
    fit(
        loss,
        network.parameters(),
        steps=steps,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warm_up=0.2,
        early_stop=early_stop,
        progress=progress,
    )


def _held_out(count: int, recipe: JudgeRecipe, draws: Generator) -> Tensor | None:
    """Choose the rows that a training ends by, int64 `[M]`; None if the recipe or the data have too few."""
    chosen = min(MOST_HELD_OUT, int(recipe.held_out * count))
    return torch.randperm(count, generator=draws)[:chosen] if chosen >= FEWEST_HELD_OUT else None


@torch.no_grad()
def _accuracy_on(network: JudgeNetwork, images: Tensor, labels: Tensor) -> float:
    """The share of uint8 images that a network in training classifies correctly; it goes on training."""
    network.eval()
    hits = [
        network(part.float() / 255)[1].argmax(1) == label
        for part, label in zip(images.split(BATCH), labels.split(BATCH), strict=True)
    ]
    network.train()
    return torch.cat(hits).double().mean().item()


def _batches(count: int, per_epoch: int, shift: int, draws: Generator) -> Iterator[tuple[Tensor, list[int]]]:
    """Yield the rows of each batch, every one of `count` once per epoch, and the shift of the batch."""
    while True:
        order = torch.randperm(count, generator=draws)
        for first in range(per_epoch):
            by = torch.randint(-shift, shift + 1, (2,), generator=draws).tolist()
            yield order[first::per_epoch], by
