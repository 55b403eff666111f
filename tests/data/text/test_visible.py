"""A name is one line of visible text."""

import pytest

from latentbench.data.text.visible import visible


@pytest.mark.parametrize("name", ["ae-2", "a [b] [/c] | $x$ <i>", "שלום", "モデル", "e\u0301", "👩\u200d🔬"])
def test_visible_names_are_kept(name):
    assert visible(name) == name


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a\x1bb", "a\nb", "\x00", "a\u202eb", "\u2028", "\udcff", "\x9b"]
)
def test_hidden_characters_are_refused(name):
    with pytest.raises(ValueError, match="must"):
        visible(name)
