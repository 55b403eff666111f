"""Turns names, paths and error texts, which come from users, into plain text: one function per medium.

Markdown has its own in `markdown.text`, HTML is escaped by the report's template, and figures are drawn
without mathematical markup (`analysis.figures.drawing.style`). What goes into Markdown, HTML, JUnit or a
figure passes through `printable` first, and so does what `markup` and `plain` show on a terminal.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.text import Text

from latentbench.data.text.visible import is_hidden

if TYPE_CHECKING:
    import pandas as pd

FORMULA = tuple("=+-@\t\r")
"""First characters of a cell that a spreadsheet takes for a formula."""
LONGEST_FILE_NAME = 200
"""The longest name in bytes; file systems allow 255, and writers add endings."""


def printable(value: object) -> str:
    r"""Return a value as one line of visible text: control characters and the like are shown as escapes.

    >>> printable("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    return "".join(each.encode("unicode_escape").decode() if is_hidden(each) else each for each in str(value))


def markup(value: object) -> str:
    r"""Return a value for use within a string of rich's markup.

    >>> markup("a [b] [/c]")
    'a \\[b] \\[/c]'
    """
    escaped = escape(printable(value))
    # A backslash at the end would escape a tag that follows.
    return escaped + "\\" if escaped.endswith("\\") and not escaped.endswith("\\\\") else escaped


def plain(value: object, style: str = "") -> Text:
    """Return a value as a separate cell or line for rich."""
    return Text(printable(value), style=style)


def plain_lines(text: str, style: str = "") -> Text:
    """Return our own text of several lines that contains data."""
    return Text("\n").join(plain(line, style) for line in text.split("\n"))


def shortened(text: str, longest: int) -> str:
    """Return a text of at most `longest` characters; a longer one loses its middle.

    >>> shortened("folder:a/long/path/to/images?size=224", 30)
    'folder:a/long/pat … s?size=224'
    """
    if len(text) <= longest:
        return text
    end = (longest - 3) * 3 // 8
    return f"{text[: longest - 3 - end]} … {text[-end:]}"


def csv(frame: pd.DataFrame) -> str:
    """Return a table as comma-separated values in which no text is a formula to a spreadsheet."""
    texts = frame.select_dtypes(exclude=["number", "bool"])
    safe = frame.assign(**{str(name): frame[name].map(_csv_cell) for name in texts})
    return safe.rename(columns=_csv_cell).to_csv(index=False)


def _csv_cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def file_name(text: str) -> str:
    """Return a name for one file or folder: without separators, not hidden, and short enough.

    Two texts never share a name: a changed name ends in a hash of the text.

    >>> file_name("ae-2 seed 0"), file_name("../../x")
    ('ae-2 seed 0', '_.._x 9cdf6a50')
    """
    safe = re.sub(r'[/\\:*?"<>|]', "_", printable(text)).lstrip(". ").rstrip(". ")
    shortened = safe.encode()[:LONGEST_FILE_NAME].decode(errors="ignore")
    if text and shortened == text:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{shortened} {digest}".strip()
