"""The generated blocks of README and docs agree with the reference store, and the store is whole."""

import subprocess
from pathlib import Path

import pytest

from latentbench.bench.maintain import readme
from latentbench.bench.store.store import Store
from latentbench.bench.store.verify import verify
from latentbench.bench.text.markdown import with_blocks

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def blocks():
    return readme.blocks(Store(ROOT / "results" / "reference"))


@pytest.mark.parametrize("name", readme.PLACES)
def test_generated_blocks_match_the_reference_store(blocks, name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert with_blocks(text, {block: blocks[block] for block in readme.PLACES[name]}, name) == text


def test_every_generated_block_has_a_place(blocks):
    assert set(blocks) == {block for wanted in readme.PLACES.values() for block in wanted}


def test_reference_store_is_whole():
    assert verify(Store(ROOT / "results" / "reference")).problems == ()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_only_the_reference_store_is_committed():
    listed = subprocess.run(
        ["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [path for path in listed.stdout.split() if not path.startswith("results/reference/")] == []
