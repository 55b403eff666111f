"""The README's generated blocks agree with the reference store."""

from pathlib import Path

import pytest

from latentbench.bench.maintain import readme
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def blocks():
    return readme.blocks(Store(ROOT / "results" / "reference"))


@pytest.mark.parametrize("name", readme.PLACES)
def test_generated_blocks_match_the_reference_store(blocks, name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert readme.update(text, {block: blocks[block] for block in readme.PLACES[name]}) == text


def test_every_generated_block_has_a_place(blocks):
    assert set(blocks) == {block for wanted in readme.PLACES.values() for block in wanted}


def test_a_block_is_replaced_and_the_rest_is_left_alone():
    text = "before\n<!-- begin a -->\nold\n<!-- end a -->\nafter\n"
    assert readme.update(text, {"a": "new"}) == "before\n<!-- begin a -->\nnew\n<!-- end a -->\nafter\n"


def test_a_block_without_a_place_is_an_error():
    with pytest.raises(LatentbenchError, match="no place for the block 'b'"):
        readme.update("nothing here", {"b": "new"})
