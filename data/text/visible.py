"""Invisible characters: a name may not contain them and no output passes them on."""

from __future__ import annotations

import unicodedata

CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories: controls, half characters, line and paragraph ends."""
DIRECTION = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of the text around them."""
NOT_IN_XML = set("\ufffe\uffff")


def is_hidden(character: str) -> bool:
    """Return True if a character is a control character or acts like one."""
    return character in DIRECTION or character in NOT_IN_XML or unicodedata.category(character) in CATEGORIES


def visible(name: str) -> str:
    """Return the same name. Raises ValueError for one that is empty, padded, or has a hidden character.

    >>> visible("ae 2")
    'ae 2'
    >>> visible("ae\\x1b")
    Traceback (most recent call last):
    ...
    ValueError: must have visible characters only, not '\\x1b'
    """
    if not name or name != name.strip():
        raise ValueError("must be text without spaces at its ends")
    hidden = next(filter(is_hidden, name), None)
    if hidden:
        raise ValueError(f"must have visible characters only, not {hidden!r}")
    return name
