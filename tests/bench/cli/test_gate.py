"""The gate from end to end: what regressed fails, whichever file or package made the change.

Each test runs the installed command several times, which takes minutes on a busy machine.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SUITE = """
description: x
data: digits
analyses: [reconstruction]
recipe: {{epochs: {}}}
seeds: 5
models: [{}]
"""
AE = "{family: ae, latent_dim: 4, hidden: 16}"
MODEL = """
import torch
from helper import squash

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.d = torch.nn.Linear(64, 4), torch.nn.Linear(4, 64)
    def encode(self, x):
        return self.e(x.flatten(1))
    def decode(self, z):
        return squash(torch.sigmoid(self.d(z))).view(-1, 1, 8, 8)
"""
PLUG_IN = """
from latentbench.models.families.autoencoders.ae import AE
from latentbench.models.families.autoencoders.gradient_autoencoder import squared_error
from latentbench.models.family import FAMILIES

@FAMILIES.register("plugged")
class Plugged(AE):
    def loss(self, x, step):
        error = squared_error({target}, self.decode(self.encode(x).mean))
        return {{"loss": error, "reconstruction": error}}
"""


COMMAND = shutil.which("latentbench", path=str(Path(sys.executable).parent)) or "latentbench"


@pytest.fixture
def home(tmp_path, judges):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "judges").symlink_to(judges)
    return tmp_path


def latentbench(home, *arguments):
    environment = {**os.environ, "LATENTBENCH_CACHE": str(home / "cache")}
    return subprocess.run([COMMAND, *arguments], cwd=home, env=environment, capture_output=True, text=True)


def install(site, name, version, code, entry_points=""):
    """Write a package as pip installs it, in place of another version of it."""
    for old in site.glob("*.dist-info"):
        shutil.rmtree(old)
    about = site / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "RECORD").write_text(f"{name}.py,,\n")
    (about / "entry_points.txt").write_text(entry_points)
    (site / f"{name}.py").write_text(code)


def run(home, epochs, model):
    (home / "my.yaml").write_text(SUITE.format(epochs, model))
    done = latentbench(home, "run", "my.yaml", "--no-figures", "--jobs", "1")
    assert done.returncode == 0, done.stderr


def check(home):
    return latentbench(home, "check", "--baseline", "main").returncode


def set_baseline(home):
    done = latentbench(home, "baseline", "set", "main", "latest", "--why", "test")
    assert done.returncode == 0, done.stderr


def test_the_gate_judges_what_run_answered_with(home):
    """The worse configuration was measured before the better one, and is answered from that run."""
    run(home, 1, AE)
    run(home, 5, AE)
    set_baseline(home)
    run(home, 1, AE)
    assert check(home) == 3
    run(home, 5, AE)
    assert check(home) == 0


def test_a_changed_helper_fails_the_gate_without_fresh(home):
    (home / "model.py").write_text(MODEL)
    (home / "helper.py").write_text("def squash(x): return x\n")
    run(home, 1, "{import: 'model:Tiny', name: tiny}")
    set_baseline(home)
    (home / "helper.py").write_text("def squash(x): return x * 0.1\n")
    run(home, 1, "{import: 'model:Tiny', name: tiny}")
    assert check(home) == 3


def test_another_version_of_a_dependency_fails_the_gate(home, monkeypatch):
    site = home / "site-packages"
    monkeypatch.setenv("PYTHONPATH", str(site))
    (home / "model.py").write_text(MODEL)
    install(site, "helper", "1.0", "def squash(x): return x\n")
    run(home, 1, "{import: 'model:Tiny', name: tiny}")
    set_baseline(home)
    install(site, "helper", "2.0", "def squash(x): return x * 0.1\n")
    run(home, 1, "{import: 'model:Tiny', name: tiny}")
    assert check(home) == 3


def test_a_changed_loss_of_a_plug_in_fails_the_gate(home, monkeypatch):
    site = home / "site-packages"
    monkeypatch.setenv("PYTHONPATH", str(site))
    entry_point = "[latentbench.families]\nplugged = plugged\n"
    install(site, "plugged", "1.0", PLUG_IN.format(target="x"), entry_point)
    run(home, 30, "{family: plugged, latent_dim: 4, hidden: 16}")
    set_baseline(home)
    install(site, "plugged", "1.0", PLUG_IN.format(target="1 - x"), entry_point)
    run(home, 30, "{family: plugged, latent_dim: 4, hidden: 16}")
    assert check(home) == 3
