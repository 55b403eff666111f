"""A suite may name a user's models, and its errors say what is wrong with them."""

import sys

import pytest

from latentbench import data as datasets
from latentbench.bench.run import suite
from latentbench.bench.run.case import cases
from latentbench.data.errors import LatentbenchError

OWN = """
description: my own models
models:
  - {import: "suite_module:Thumbnail", kwargs: [{factor: 2}, {factor: 4}], name: thumb}
  - {import: "suite_module:Thumbnail", kwargs: {factor: 8}}
  - {family: pca, latent_dim: 4}
"""

MODULE = """
import torch


class Thumbnail(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def encode(self, x):
        return torch.nn.functional.avg_pool2d(x, self.factor).flatten(1)

    def decode(self, z):
        side = 8 // self.factor
        return torch.nn.functional.interpolate(z.view(-1, 1, side, side), scale_factor=self.factor)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a suite file with a module next to it, whose imports are removed afterwards."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "suite_module.py").write_text(MODULE)
    (tmp_path / "own.yaml").write_text(OWN)
    yield tmp_path / "own.yaml"
    sys.modules.pop("suite_module", None)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def test_user_models_are_listed_next_to_the_zoo(own, digits):
    loaded = suite.load(str(own))
    assert [entry.spec.label for entry in loaded.entries] == ["thumb", "thumb", "Thumbnail", "pca-4"]
    found = suite.resolved(loaded, digits)
    assert [entry.spec.label for entry in found.entries] == ["thumb-16", "thumb-4", "Thumbnail-1", "pca-4"]
    assert found.entries[-1] == loaded.entries[-1]
    assert "suite_module" in sys.modules


def test_a_mistake_in_a_user_model_names_the_place(own, digits):
    own.write_text(OWN.replace("factor: 8", "factor: 3"))
    with pytest.raises(
        LatentbenchError, match=r"^own\.yaml, models\[1\]: suite_module:Thumbnail: decode returned"
    ):
        suite.resolved(suite.load(str(own)), digits)


def test_the_same_model_in_two_spellings_is_one(own, digits):
    own.write_text(OWN + '  - {import: "suite_module:Thumbnail", kwargs: {factor: 8}, latent_dim: 1}\n')
    loaded = suite.load(str(own))
    with pytest.raises(
        LatentbenchError, match=r"models\[3\]: Thumbnail-1 is already in own\.yaml, models\[1\]"
    ):
        suite.resolved(loaded, digits)


def test_imported_case_depends_on_weights_and_not_on_code(own, digits):
    first = suite.resolved(suite.load(str(own)), digits)
    own.with_name("suite_module.py").write_text(MODULE + "\nUNUSED = 1\n")
    again = suite.resolved(suite.load(str(own)), digits)
    own.with_name("suite_module.py").write_text(
        MODULE.replace("factor\n", "factor; self.w = torch.nn.Linear(1, 1)\n")
    )
    del sys.modules["suite_module"]
    heavier = suite.resolved(suite.load(str(own)), digits)
    ids = [[case.id for case in cases(found, digits, [0])] for found in (first, again, heavier)]
    assert ids[0] == ids[1]
    assert first.entries[0].spec != again.entries[0].spec
    assert [a == b for a, b in zip(ids[0], ids[2], strict=True)] == [False, False, False, True]
