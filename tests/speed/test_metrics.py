"""Metrics against the packages people use now, on the same inputs in the same process.

Run with `pytest tests/speed -k metrics -s`. Every case prints the ratio (rival's median over ours) next to
the values both reached, so that a fast wrong answer shows. Ours computes on the GPU if there is one.
"""

import numpy as np
import pytest
import torch

import latentbench.data
from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.fidelity.generative_metrics import neighbourhoods, vendi_score
from latentbench.analysis.latent.umap import trustworthiness, umap_embedding
from latentbench.analysis.rate.likelihood import log_likelihood
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, train_or_load

DEVICE = find_device("auto")
COUNT, DIMENSIONS = 10_000, 64
ROUNDS = 3


def features():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(COUNT, DIMENSIONS, generator=generator)
    fake = 0.9 * torch.randn(COUNT, DIMENSIONS, generator=generator) + 0.05
    return real, fake


def test_metrics_precision_recall_density_coverage(side_by_side, say):
    prdc = pytest.importorskip("prdc", reason="the rival prdc is not installed")
    real, fake = features()
    as_arrays = real.double().numpy(), fake.double().numpy()

    def ours():
        found = neighbourhoods(real.to(DEVICE), fake.to(DEVICE), manifold_k=5, density_k=5)
        return [
            values.double().mean().item()
            for values in (found.precise, found.recalled, found.density, found.covered)
        ]

    def rival():
        values = prdc.compute_prdc(*as_arrays, nearest_k=5)
        return [values[name] for name in ("precision", "recall", "density", "coverage")]

    found = side_by_side(ours, rival, rounds=ROUNDS)
    assert np.asarray(found.value) == pytest.approx(found.rival_value, abs=1e-6)
    say(
        f"precision, recall, density, coverage of {COUNT:,} against {COUNT:,} points, D = {DIMENSIONS}, "
        f"{DEVICE.type}",
        found,
        "prdc",
        f"the same {', '.join(f'{value:.4f}' for value in found.value)}",
    )


@pytest.mark.parametrize("rival_name", ["score", "score_dual"])
def test_metrics_vendi_score(rival_name, side_by_side, say):
    """Compared with the package's score of any kernel, and with its short cut for inner products."""
    vendi = pytest.importorskip("vendi_score.vendi", reason="the rival vendi-score is not installed")
    points = torch.randn(1500, DIMENSIONS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = torch.nn.functional.normalize(points, dim=1).numpy()

    def rival():
        if rival_name == "score_dual":
            return vendi.score_dual(unit)
        return vendi.score(list(unit), lambda a, b: a @ b)

    found = side_by_side(lambda: vendi_score(points), rival, rounds=ROUNDS)
    assert found.value == pytest.approx(found.rival_value, rel=1e-6)
    say(
        f"Vendi score of {len(points):,} points, D = {DIMENSIONS}",
        found,
        f"vendi-score's {rival_name}",
        f"the same {found.value:.4f}",
    )


def test_metrics_umap(side_by_side, say):
    umap = pytest.importorskip("umap", reason="the rival umap-learn is not installed")
    draws = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(10, 16, generator=draws)
    codes = centres[torch.randint(10, (COUNT,), generator=draws)] + torch.randn(COUNT, 16, generator=draws)

    def rival():
        return torch.from_numpy(umap.UMAP(random_state=0).fit_transform(codes.numpy()))

    found = side_by_side(lambda: umap_embedding(codes, seed=0), rival, rounds=1)
    assert torch.equal(found.value, umap_embedding(codes, seed=0))
    trust, rivals = (trustworthiness(codes, picture) for picture in (found.value, found.rival_value))
    say(
        f"a repeatable UMAP picture of {COUNT:,} codes, D = 16",
        found,
        "umap.UMAP(random_state=0)",
        f"trustworthiness {trust:.3f} against {rivals:.3f}",
    )


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """Pythae's default network, trained for an epoch by us."""
    data = latentbench.data.load("mnist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        spec = model_spec(family="vae", latent_dim=16, sigma=1.0)
        trained = train_or_load(Training(spec, Recipe(epochs=1, batch_size=128), 0), data, device=DEVICE)
        yield Subject(trained.model.to(DEVICE), DataContext.of(data, DEVICE), seed=0)


def test_metrics_log_likelihood(vae, side_by_side, say):
    """k = 500 draws for each of 100 images, by the same weights: Pythae's classes hold ours."""
    pythae = pytest.importorskip("pythae.models", reason="the rival pythae is not installed")
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def forward(self, x):
            posterior = vae.model.encode(x)
            return ModelOutput(embedding=posterior.mean, log_covariance=posterior.log_var)

    class Decoder(BaseDecoder):
        def forward(self, z):
            return ModelOutput(reconstruction=vae.model.decode(z))

    config = pythae.VAEConfig(input_dim=(1, 28, 28), latent_dim=16)
    rivals_model = pythae.VAE(config, encoder=Encoder(), decoder=Decoder()).to(DEVICE).eval()
    images = vae.data.test.images[:100].to(DEVICE).float() / 255

    def ours():
        return log_likelihood(vae.model, images, 500).mean().item()

    def rival():
        with torch.no_grad():
            return rivals_model.get_nll(images, n_samples=500, batch_size=100)

    found = side_by_side(ours, rival, rounds=1)
    say(
        f"log-likelihood of 100 images, k = 500, {DEVICE.type}",
        found,
        "Pythae's get_nll",
        f"ours {found.value:.2f} nats, Pythae's {found.rival_value:.2f}",
    )


def test_metrics_every_analysis_of_one_model(vae, benchmark, capsys):
    """Every default analysis on 10,000 test images, UMAP included, after warm-up; without a rival."""
    names = [name for name, analysis in ANALYSES.items() if not analysis.opt_in]

    def measure():
        subject = Subject(vae.model, vae.context, seed=0, history=vae.history)
        return [ANALYSES[name].measure(subject) for name in names]

    measure()
    benchmark.pedantic(measure, rounds=3)
    with capsys.disabled():
        print(f"\nevery analysis of one model: {benchmark.stats.stats.median:.1f} s ({', '.join(names)})")
