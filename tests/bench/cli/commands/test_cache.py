"""`latentbench cache`: what is there, how large, and removed when asked."""

import os
import time

import pytest
from PIL import Image
from typer.testing import CliRunner

from latentbench.bench.cli.app import app
from latentbench.data import LatentbenchError, load

RUNNER = CliRunner()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with decoded images, a checkpoint, and what a killed process left."""
    root = tmp_path / "cache"
    monkeypatch.setenv("LATENTBENCH_CACHE", str(root))
    (tmp_path / "photos" / "test").mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "photos" / "test" / "1.png")
    load(f"folder:{tmp_path}/photos?size=8", mapped=True)
    (root / "checkpoints" / "abc").mkdir(parents=True)
    (root / "checkpoints" / "abc" / "weights.safetensors").write_bytes(bytes(5000))
    leftover = root / "images" / ".x.pixels.123.tmp"
    leftover.write_bytes(bytes(10))
    os.utime(leftover, (time.time() - 86_400,) * 2)
    return root


def cache_command(*arguments):
    done = RUNNER.invoke(app, ["cache", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_entries_are_listed_with_what_they_are(cache, tmp_path):
    listed = cache_command("list", "--format", "csv").splitlines()
    assert listed[0] == "kind,name,size,unused for,what"
    assert listed[1] == "checkpoints,abc,5.0 kB,0 days,"
    assert any(line.startswith("images,") and f"folder:{tmp_path}/photos?size=8" in line for line in listed)
    assert len(listed) == 4


def test_sizes_are_summed_by_kind(cache):
    assert "checkpoints,1,5.0 kB" in cache_command("size", "--format", "csv")


def test_prune_removes_decoded_images_and_leftovers_only(cache):
    assert "would remove 2 entries" in cache_command("prune", "--dry-run")
    assert "removed 0 entries" in cache_command("prune", "--unused-days", "30")
    assert "removed 2 entries" in cache_command("prune")
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["weights.safetensors"]
    cache_command("prune", "--kind", "all")
    assert "the cache is empty" in cache_command("list")


def test_an_unknown_kind_is_one_line(cache):
    with pytest.raises(LatentbenchError, match="unknown kind of cached files 'image'; did you mean 'images'"):
        cache_command("prune", "--kind", "image")
