"""A store, and a finished run in it."""

import pytest
from shared.stored_runs import ENVIRONMENT, HOSTILE, arrays

from latentbench.bench.present import figures
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.remember_environment("env", ENVIRONMENT)
    return store


@pytest.fixture
def save(store):
    """Write records, each with its arrays or None, as a finished run of suite `my`."""

    def write(*cases, suite="my"):
        with store.writer(suite, None) as writer:
            for record, arrays in cases:
                writer.append(record, arrays)
            return read(writer.finish())

    return write


@pytest.fixture
def run(save, make_record):
    hostile = make_record(latent_dim=64, mse=None, status="diverged", reason="loss <script>alert(1)</script>")
    hostile = hostile.model_copy(update={"model_label": f"ae-64 {HOSTILE}"})
    return save(
        (make_record(latent_dim=2, mse=0.04321, frechet_prior=512.25), arrays()),
        (make_record(latent_dim=8, mse=0.02, frechet_prior=None), arrays()),
        (hostile, None),
    )


@pytest.fixture
def as_png(monkeypatch):
    """Most tests do not look at the pictures; those that do put this back."""
    real = figures.as_png
    monkeypatch.setattr(figures, "as_png", lambda picture: b"a picture")
    return real
