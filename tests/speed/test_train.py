"""Training against Pythae's trainer and the book's own loop.

Run with `pytest tests/speed -k train -s`. Same architecture, data, batch, precision and number of steps;
every case prints the ratio (rival's median over ours) and the loss both reached on the test images. All
processor cores are at both sides' disposal. What the tool itself does is timed with it: initial weights,
history, divergence check, checkpoint.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

import latentbench.data
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.performance.cores import default_jobs, threads_of
from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.local import LocalProcesses
from latentbench.bench.run.case import Case
from latentbench.bench.run.journal import TRAINING, Journal
from latentbench.bench.run.resumable import Origin
from latentbench.bench.run.stages import training as training_stage
from latentbench.bench.run.stages.contexts import open_context
from latentbench.bench.run.stages.progress import Progress, key
from latentbench.bench.run.stages.training import TrainingOptions
from latentbench.bench.store.records.record import DataReference
from latentbench.data.images import ImageData, Split
from latentbench.models.checkpoint import load
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, train_or_load, train_or_load_stack

DEVICE = find_device("auto")
ALL_THREADS = torch.get_num_threads()
RECIPE = Recipe(epochs=1, batch_size=128, learning_rate=1e-3, adam_betas=(0.9, 0.999), schedule="constant")
WIDTH = 16
GRID = [(width, beta, seed) for width in (8, 16) for beta in (0.5, 1.0) for seed in range(4)]
# Enough steps on a GPU that they take longer than what is done once.
BOOK_BATCH, BOOK_STEPS = 64, 20 if DEVICE.type == "cpu" else 600


@pytest.fixture(scope="module")
def mnist():
    return latentbench.data.load("mnist")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


@torch.inference_mode()
def loss_on(images, encode, decode, beta=1.0):
    """½ squared error + β KL of the posterior mean, per image: Pythae's objective, ours at σ = 1."""
    x = images.to(DEVICE).float() / 255
    mean, log_var = encode(x)
    error = 0.5 * (decode(mean) - x).square().flatten(1).sum(1)
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
    return (error + beta * kl).mean().item()


def loss_of_ours(checkpoint, images):
    model = checkpoint.model.to(DEVICE)
    moments = lambda x: (model.encode(x).mean, model.encode(x).log_var)  # noqa: E731
    return loss_on(images, moments, model.decode, checkpoint.card.spec.beta)


def loss_of_pythae(model, images):
    model.to(DEVICE).eval()
    moments = lambda x: (model.encoder(x).embedding, model.encoder(x).log_covariance)  # noqa: E731
    return loss_on(images, moments, lambda z: model.decoder(z).reconstruction, model.model_config.beta)


# One VAE, and a grid of them, against Pythae


def training(width=WIDTH, beta=1.0, seed=0):
    """Pythae's default network: 784 – 512 – latent, mirrored, with a Gaussian likelihood of σ = 1."""
    return Training(model_spec(family="vae", latent_dim=width, beta=beta, sigma=1.0), RECIPE, seed)


@pytest.fixture
def pythae_train(mnist, tmp_path):
    """`pythae_train(width, beta, seed)` is a model trained by Pythae's trainer."""
    pytest.importorskip("pythae", reason="the rival pythae is not installed")
    from pythae.data.datasets import BaseDataset
    from pythae.models import BetaVAE, BetaVAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    logging.getLogger("pythae").setLevel(logging.ERROR)
    images = mnist.train.images.float() / 255
    dataset = BaseDataset(images, torch.zeros(len(images)))

    def train(width=WIDTH, beta=1.0, seed=0):
        settings = BaseTrainerConfig(
            output_dir=str(tmp_path / "pythae"),
            num_epochs=RECIPE.epochs,
            per_device_train_batch_size=RECIPE.batch_size,
            learning_rate=RECIPE.learning_rate,
            optimizer_cls="Adam",
            seed=seed,
        )
        model = BetaVAE(
            BetaVAEConfig(input_dim=(1, 28, 28), latent_dim=width, beta=beta, reconstruction_loss="mse")
        )
        BaseTrainer(model, dataset, training_config=settings).train()
        return model

    return train


def test_train_one_mlp_vae(side_by_side, say, mnist, pythae_train):
    ours = partial(train_or_load, training(), mnist, device=DEVICE, use_cache=False)
    found = side_by_side(ours, pythae_train, rounds=5)
    loss = loss_of_ours(found.value, mnist.test.images)
    rival_loss = loss_of_pythae(found.rival_value, mnist.test.images)
    assert loss < 1.05 * rival_loss
    say(
        f"one VAE 784-512-{WIDTH}, batch {RECIPE.batch_size}, one epoch, {DEVICE.type}",
        found,
        "Pythae",
        f"test loss {loss:.2f} against {rival_loss:.2f}",
    )


def in_workers(mnist):
    """The grid as `latentbench run` trains it on a CPU: a worker a core, each model by itself."""
    reference = DataReference(name="mnist", fingerprint=mnist.fingerprint, train=60_000, test=10_000)
    grid = [training(*variant) for variant in GRID]
    cases = [Case(one.spec, reference, one.recipe, one.seed, ()) for one in grid]
    tasks = [[Progress(case)] for case in cases]
    jobs = default_jobs(DEVICE)
    open_data = partial(latentbench.data.load, "mnist")
    executor = LocalProcesses(
        jobs, threads_of(jobs), partial(open_context, open_data, str(DEVICE), judged=False)
    )
    with stopped_at_the_end(executor):
        journal = Journal(Origin("speed", "speed"))
        train = partial(training_stage.train, options=TrainingOptions(use_cache=False), journal=journal)
        done = [progress for _, (progress,) in Crew(executor, key=key).map(train, tasks)]
    torch.set_num_threads(ALL_THREADS)
    return [load(progress.steps[TRAINING].checkpoint) for progress in done]


def in_a_stack(mnist):
    """The grid as `latentbench run --stack` trains it: one vmapped model."""
    grid = [training(*variant) for variant in GRID]
    return train_or_load_stack(grid, mnist, device=DEVICE, use_cache=False)


@pytest.mark.parametrize("way", [in_workers, in_a_stack], ids=["workers", "stack"])
def test_train_a_grid_of_sixteen(side_by_side, say, mnist, pythae_train, way):
    if DEVICE.type == "cuda" and way is in_workers:
        pytest.skip("on a GPU a grid is trained as a stack")

    def rival():
        return [pythae_train(*variant) for variant in GRID]

    found = side_by_side(partial(way, mnist), rival, rounds=1, warm_up=False)
    losses = [loss_of_ours(each, mnist.test.images) for each in found.value]
    rival_losses = [loss_of_pythae(each, mnist.test.images) for each in found.rival_value]
    means = [math.fsum(each) / len(GRID) for each in (losses, rival_losses)]
    assert means[0] < 1.05 * means[1]
    say(
        f"{len(GRID)} VAEs (widths × β × seeds), batch {RECIPE.batch_size}, one epoch, {DEVICE.type}, "
        + way.__name__.replace("_", " "),
        found,
        f"{len(GRID)} Pythae trainings",
        "mean test loss {:.2f} against {:.2f}".format(*means),
    )


# The book's convolutional VAE against the book's loop


class BooksVAE(nn.Module):
    """The chapter's network, in torch's own layers."""

    def __init__(self, latent_dim):
        super().__init__()
        widths = [1, 128, 256, 512, 1024]
        blocks = [
            layer
            for before, after in pairwise(widths)
            for layer in (nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU())
        ]
        self.encoder = nn.Sequential(*blocks, nn.Flatten())
        self.mean, self.log_var = nn.Linear(1024, latent_dim), nn.Linear(1024, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 1024 * 4 * 4),
            nn.Unflatten(1, (1024, 4, 4)),
            nn.ConvTranspose2d(1024, 512, 3, 2, 1),
            nn.BatchNorm2d(512),
            nn.ReLU(),
            nn.ConvTranspose2d(512, 256, 3, 2, 1, output_padding=1),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.ConvTranspose2d(256, 1, 3, 2, 1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        features = self.encoder(x)
        mean, log_var = self.mean(features), self.log_var(features)
        return self.decoder(mean + torch.randn_like(mean) * (0.5 * log_var).exp()), mean, log_var


class Pictures(torch.utils.data.Dataset):
    """Yield images as a data set does: one PIL image at a time, made a tensor by a transform."""

    def __init__(self, images):
        self.pictures = [to_pil_image(image) for image in images]
        self.transform = transforms.ToTensor()

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return self.transform(self.pictures[index])


def books_loop(pictures):
    """The chapter's loop: a data loader, AdamW, and the loss noted at every step; returns the last loss."""
    torch.manual_seed(0)
    model = BooksVAE(WIDTH).to(DEVICE)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, eps=1e-5)
    losses = []
    for x in DataLoader(pictures, batch_size=BOOK_BATCH, shuffle=True, drop_last=True):
        x = x.to(DEVICE)
        reconstruction, mean, log_var = model(x)
        error = F.mse_loss(reconstruction.flatten(1), x.flatten(1), reduction="none").sum(1)
        kl = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1)
        loss = (error + kl).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses[-1]


def test_train_the_books_network(side_by_side, say, mnist):
    images = mnist.train.images[: BOOK_BATCH * BOOK_STEPS]
    few = ImageData("mnist-few", Split(images, None), Split(mnist.test.images, None), ())
    recipe = RECIPE.model_copy(update={"batch_size": BOOK_BATCH, "learning_rate": 1e-4, "weight_decay": 0.01})
    spec = model_spec(family="vae", latent_dim=WIDTH, backbone="book")

    def ours():
        history = train_or_load(Training(spec, recipe, 0), few, device=DEVICE, use_cache=False).history
        # Without the Gaussian's constant: squared error + KL, as the book has it.
        return float(history.terms["loss"][-1]) - 784 / 2 * math.log(math.pi)

    found = side_by_side(ours, partial(books_loop, Pictures(images)), rounds=2)
    assert found.value == pytest.approx(found.rival_value, rel=0.15)
    say(
        f"the book's VAE, batch {BOOK_BATCH}, {BOOK_STEPS} steps, {DEVICE.type}",
        found,
        "the book's loop",
        f"last loss {found.value:.1f} against {found.rival_value:.1f}",
    )
