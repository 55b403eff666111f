"""The study of real latents: on made-up files, and on the real ones where they are present."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from latentbench.analysis.health.code_statistics import participation
from latentbench.analysis.latent.density_gaps import POINTS
from latentbench.analysis.latent.intrinsic_dimension import two_nn
from latentbench.bench.maintain import real_latents
from latentbench.bench.maintain.real_latents import FILES, load
from latentbench.data.errors import LatentbenchError

REAL = os.environ.get("LATENTBENCH_REAL_LATENTS")
"""The folder of the real files, which are not part of this project."""


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for file in FILES.values():
        np.save(tmp_path / file, rng.normal(size=(400, 4)).astype(np.float32))
    return tmp_path


def test_the_table_is_written_into_the_page(folder, monkeypatch, capsys):
    page = folder / "page.md"
    page.write_text("before\n<!-- begin real latents -->\nold\n<!-- end real latents -->\nafter\n")
    monkeypatch.setattr(sys, "argv", ["real_latents", str(folder), str(page)])
    real_latents.main()
    text = page.read_text()
    assert text.startswith("before\n<!-- begin real latents -->\n| measure | plain | aligned | N(0, I) |")
    assert "old" not in text
    assert text.endswith("after\n")
    assert "400 latents of 4 channels each" in text
    assert capsys.readouterr().out.strip() in text


def test_missing_and_wrong_files_are_named(folder):
    np.save(folder / FILES["plain"], np.zeros(3, np.float32))
    with pytest.raises(LatentbenchError, match=r"f16d32.npy: expected latents \[N, D\], got \[3\]"):
        load(folder)
    (folder / FILES["plain"]).unlink()
    with pytest.raises(LatentbenchError, match=r"f16d32\.npy: no latents"):
        load(folder)


@pytest.mark.skipif(REAL is None, reason="LATENTBENCH_REAL_LATENTS names no folder")
@pytest.mark.parametrize(("name", "ratio", "dimension"), [("plain", 12.36, 19.0), ("aligned", 16.44, 11.3)])
def test_real_latents_have_the_published_dimensions(name, ratio, dimension):
    codes = load(Path(REAL))[name]
    assert participation(codes).value == pytest.approx(ratio, abs=0.005)
    assert two_nn(codes[:POINTS]) == pytest.approx(dimension, abs=0.05)
