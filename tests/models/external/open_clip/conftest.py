"""A suite's folder with a very small model of open_clip, and images with names."""

import json

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from PIL import Image
from shared.tiny_clip import TINY

from latentbench.data import load


@pytest.fixture(scope="module")
def towers():
    torch.manual_seed(0)
    return open_clip.CLIP(**TINY).eval()


@pytest.fixture
def folder(tmp_path, towers, monkeypatch):
    """A suite's folder with an architecture, weights of it and images with names."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    safetensors.torch.save_model(towers, tmp_path / "tiny.safetensors")
    images = tmp_path / "images"
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (images / name).mkdir(parents=True)
        for index in range(3):
            Image.fromarray(draws.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
                images / name / f"{index}.png"
            )
    (images / "classes.txt").write_text("cat\ndog\n")
    return tmp_path


@pytest.fixture
def data(folder):
    return load(f"folder:{folder / 'images'}?size=32")
