"""Text from other people stays text in every medium."""

import io

import pandas as pd
import pytest
from rich.console import Console

from latentbench.bench.text import escaping

HOSTILE = ["a [b] [/c]", "[red]x[/]", "\\", "a\\[b]", "[bold]\\", "x\x1b]0;title\x07", "a\nb", "\u202eabc"]


@pytest.mark.parametrize("text", HOSTILE)
def test_terminal_shows_text_as_it_is(text):
    for shown in (escaping.plain(text), f"[dim]{escaping.markup(text)}[/]"):
        console = Console(file=io.StringIO(), width=100)
        console.print(shown, highlight=False)
        assert console.file.getvalue().rstrip() == escaping.printable(text)


def test_control_characters_become_visible():
    assert escaping.printable("a\x1b\x00\n\u2028\u202e\udcff\uffff") == (
        "a\\x1b\\x00\\n\\u2028\\u202e\\udcff\\uffff"
    )
    assert escaping.printable("שלום β=4 日本") == "שלום β=4 日本"


def test_a_spreadsheet_sees_no_formula():
    cells = ["=1+1", "@SUM(A1)", "+cmd|x", "-2+3", "-0.5", "plain"]
    frame = pd.DataFrame({"=name": cells, "value": [-1.0, 2, 3, 4, 5, 6]})
    read = pd.read_csv(io.StringIO(escaping.csv(frame)), dtype=str)
    assert read["'=name"].tolist() == ["'=1+1", "'@SUM(A1)", "'+cmd|x", "'-2+3", "-0.5", "plain"]
    assert read["value"][0] == "-1.0"


def test_file_names_stay_inside_their_folder(tmp_path):
    texts = ["/tmp/x", "../../x", "..", ".hidden", "a/b", "a\\b", "x" * 3000, "é" * 300, "a\x00b", "", "con:"]
    names = [escaping.file_name(text) for text in texts]
    for name in names:
        assert len(name.encode()) <= 255
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == len(texts)
    assert not any(name.startswith(".") for name in names)


def test_a_plain_file_name_is_kept():
    assert escaping.file_name("vae-16 β=4 seed 0") == "vae-16 β=4 seed 0"
