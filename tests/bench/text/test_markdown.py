"""Markdown tables keep their columns, and generated blocks replace nothing else."""

import pytest

from latentbench.bench.text import markdown
from latentbench.bench.text.markdown import with_blocks
from latentbench.data.errors import LatentbenchError


def test_a_cell_cannot_break_its_row():
    cells = ["a|b_c", "c\nd [1, 2]", "<i>*e*", "`f` [g](h)"]
    table = markdown.table(["w", "x", "y", "z"], [[markdown.text(cell) for cell in cells]], "lr")
    assert table.splitlines() == [
        "| w | x | y | z |",
        "| --- | ---: | ---: | ---: |",
        r"| a\|b_c | c d [1, 2] | &lt;i&gt;\*e\* | \`f\` [g]\(h) |",
    ]


def test_a_block_is_replaced_and_the_rest_kept():
    text = "before\n<!-- begin a -->\nold\n<!-- end a -->\nafter\n"
    assert with_blocks(text, {"a": "new"}, "f") == "before\n<!-- begin a -->\nnew\n<!-- end a -->\nafter\n"


@pytest.mark.parametrize("text", ["nothing here", "<!-- begin b -->\nno end", "<!-- end b -->"])
def test_a_block_without_a_place_is_an_error(text):
    with pytest.raises(LatentbenchError, match=r"README.md has no place for the block 'b'"):
        with_blocks(text, {"b": "new"}, "README.md")
