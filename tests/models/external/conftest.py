"""Data, and a folder with the module of a user."""

import sys
import textwrap

import pytest
import torch
from shared.commands import forget_modules
from shared.user_modules import MODULE

from latentbench.data.images import ImageData, Split


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """A separate cache for each test; modules that it imports from its folder are removed afterwards."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    forget_modules(tmp_path)


@pytest.fixture
def data():
    images = torch.randint(
        0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return ImageData("noise", Split(images, None), Split(images[:8], None), ())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(textwrap.dedent(MODULE))
    return tmp_path
