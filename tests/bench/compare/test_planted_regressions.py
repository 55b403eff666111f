"""Planted regressions are each found and named."""

import shutil
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch
from shared.watchers import Silent

import latentbench.bench
from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import shipped
from latentbench.bench.run import suite as suites
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.store import Store
from latentbench.bench.throughput_gate.gate import gate
from latentbench.models.families.variational.vae import VAE

QUICK = {"recipe": "{epochs: 2, batch_size: 128}", "analyses": "[reconstruction, likelihood]"}
BETA = "description: x\ndata: digits\nmodels: [{family: vae, latent_dim: 4, hidden: 32, beta: 0.1}]\n"
OWN = """
description: x
data: digits
models: [{import: "planted_model:build", checkpoint: weights.safetensors, name: mine}]
"""
MODULE = """
import torch


class Mine(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = torch.nn.Linear(64, 8), torch.nn.Linear(8, 64)

    def encode(self, x):
        return self.down(x.flatten(1))

    def decode(self, z):
        return self.up(z).clamp(0, 1).view(-1, 1, 8, 8)


build = Mine
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch, judges):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "judges").symlink_to(judges)
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


def run(folder, text, *, seeds, name="my"):
    extra = "".join(f"{key}: {value}\n" for key, value in QUICK.items())
    (folder / "my.yaml").write_text(text + extra)
    options = Options(
        seeds=tuple(range(seeds)), device="cpu", jobs=1, fresh=True, use_cache=False, this_process=True
    )
    return run_suite(suites.load(str(folder / "my.yaml")), Store(folder / "results"), options, Silent())


def regressed(comparison):
    return {
        (finding.model, finding.metric) for finding in comparison.failures if finding.verdict == "regressed"
    }


def principal_weights(data):
    """The best linear code: PCA's axes as the weights of MODULE."""
    x = data.train.images.flatten(1).float() / 255
    mean, axes = x.mean(0), torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:8]
    return {
        "down.weight": axes.contiguous(),
        "down.bias": -(axes @ mean),
        "up.weight": axes.T.contiguous(),
        "up.bias": mean,
    }


def test_perturbed_weights_are_caught_image_by_image(tmp_path):
    from latentbench import data as datasets

    (tmp_path / "planted_model.py").write_text(MODULE)
    weights = principal_weights(datasets.load("digits"))
    safetensors.torch.save_file(weights, tmp_path / "weights.safetensors")
    before = run(tmp_path, OWN, seeds=1)
    again = run(tmp_path, OWN, seeds=1)
    assert not compare(before, again, shipped(), metrics=shipped().gated, correction="Holm").failures
    noise = 0.05 * torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    safetensors.torch.save_file(
        {**weights, "down.weight": weights["down.weight"] + noise}, tmp_path / "weights.safetensors"
    )
    comparison = compare(
        before, run(tmp_path, OWN, seeds=1), shipped(), metrics=shipped().gated, correction="Holm"
    )
    assert ("mine-8", "mse") in regressed(comparison)
    assert "checkpoint sha256" in comparison.notes[0]
    (mse,) = [finding for finding in comparison.findings if finding.metric == "mse"]
    assert mse.evidence.n == 293


def test_a_changed_beta_is_caught_over_seeds(tmp_path, monkeypatch):
    before = run(tmp_path, BETA, seeds=4)
    assert not compare(before, run(tmp_path, BETA, seeds=4), shipped()).failures

    usual = VAE.build.__func__

    def build(cls, spec, image_shape):
        return usual(cls, spec.model_copy(update={"beta": 2.0}), image_shape)

    monkeypatch.setattr(VAE, "build", classmethod(build))
    planted = run(tmp_path, BETA, seeds=4)
    assert planted.records[0].case == before.records[0].case
    comparison = compare(before, planted, shipped(), metrics=shipped().gated, correction="Holm")
    (label,) = {record.model.label for record in before.records}
    assert (label, "mse") in regressed(comparison)
    (mse,) = [finding for finding in comparison.findings if finding.metric == "mse"]
    assert mse.reason == "paired t over 4 seeds"


def git(folder, *arguments):
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.slow
def test_a_slower_decoder_is_caught_in_our_own_code(tmp_path, monkeypatch):
    root = Path(latentbench.bench.__file__).parent.parent
    for package in ("data", "models", "analysis", "bench"):
        shutil.copytree(
            root / package, tmp_path / package, ignore=shutil.ignore_patterns("*.gz", "__pycache__")
        )
    git(tmp_path, "init")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "as it is")
    source = tmp_path / "models" / "families" / "variational" / "vae.py"
    planted = source.read_text() + (
        "\n_decode = VAE.decode\nVAE.decode = lambda self, z: [_decode(self, z) for _ in range(3)][0]\n"
    )
    source.write_text(planted)
    monkeypatch.chdir(tmp_path)
    found = {finding.metric: finding for finding in gate("HEAD", shipped(), blocks=3).findings}
    assert found["decode_seconds"].verdict == "regressed"
    assert found["decode_seconds"].change > 1.0
    assert found["encode_seconds"].verdict != "regressed"
