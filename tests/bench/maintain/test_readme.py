"""The README's generated blocks agree with the reference store."""

from pathlib import Path

import pytest

from latentbench.bench.maintain import readme
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError

ROOT = Path(__file__).parents[3]


def test_the_readme_is_what_the_committed_records_make_of_it():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.update(text, readme.blocks(Store(ROOT / "results" / "reference"))) == text


def test_a_block_is_replaced_and_the_rest_is_left_alone():
    text = "before\n<!-- begin a -->\nold\n<!-- end a -->\nafter\n"
    assert readme.update(text, {"a": "new"}) == "before\n<!-- begin a -->\nnew\n<!-- end a -->\nafter\n"


def test_a_block_without_a_place_is_an_error():
    with pytest.raises(LatentbenchError, match="no place for the block 'b'"):
        readme.update("nothing here", {"b": "new"})
