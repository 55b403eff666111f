"""Markdown: tables, and generated blocks of a file."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from latentbench.data.errors import LatentbenchError

LINE_ENDS = re.compile(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
MARKUP = re.compile(r"[\\`*~|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=\])\(")
"""Characters of markup: an underscore within a word is none, and a bracket only before a parenthesis."""


def text(value: object) -> str:
    r"""Return a value as plain text for a table's cell: markup, HTML and line ends have no effect.

    >>> text("a|b <i>*c*")
    'a\\|b &lt;i&gt;\\*c\\*'
    """
    escaped = MARKUP.sub(r"\\\g<0>", html.escape(str(value), quote=False))
    return LINE_ENDS.sub(" ", escaped)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """Return a table without a final newline. Cells are already Markdown; `text` converts data to it.

    `align` has a letter for each column, `l` or `r`; the last letter stands for all further columns.

    >>> print(table(["model", "MSE"], [["ae-2", "0.1"]], "lr"))
    | model | MSE |
    | --- | ---: |
    | ae-2 | 0.1 |
    """
    align = (align or "l").ljust(len(header), (align or "l")[-1])
    rules = [" ---: " if side == "r" else " --- " for side in align[: len(header)]]
    lines = [_line(header), f"|{'|'.join(rules)}|", *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(LINE_ENDS.sub(' ', cell) for cell in cells)} |"


def with_blocks(content: str, blocks: dict[str, str], where: str) -> str:
    """Return `content` with the text between `<!-- begin NAME -->` and `<!-- end NAME -->` replaced.

    Raises LatentbenchError, naming the file `where`, for a block without such a place.
    """
    for name, block in blocks.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, begun, rest = content.partition(begin)
        _, ended, after = rest.partition(end)
        if not (begun and ended):
            raise LatentbenchError(f"{where} has no place for the block {name!r}: {begin.strip()} … {end}")
        content = f"{before}{begin}{block.strip()}\n{end}{after}"
    return content
