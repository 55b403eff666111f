"""The 90 captions of captioned digits, and which of them are trained on.

A cell is one combination of digit (10), stroke (3) and slant (3). The split into 63 seen, 9
validation and 18 unseen cells is fixed: `captioned_digits.json` lists it, `split_hash` is its
fingerprint, and `design_split` shows how it was made.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import product

from latentbench.data.errors import DataError

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
STROKES = ("thin", "normal", "bold")
SLANTS = ("leaning left", "standing upright", "leaning right")

Cell = tuple[int, int, int]
"""`(digit, stroke, slant)`, each an index into the tuple of its words."""

CELLS: tuple[Cell, ...] = tuple(product(range(10), range(3), range(3)))
"""All 90 cells; a cell's position is its caption's id."""


def caption(cell: Cell) -> str:
    """The caption of a cell.

    >>> caption((7, 2, 0))
    'a bold seven leaning left'
    """
    digit, stroke, slant = cell
    return f"a {STROKES[stroke]} {DIGIT_WORDS[digit]} {SLANTS[slant]}"


CAPTIONS: tuple[str, ...] = tuple(caption(cell) for cell in CELLS)


@dataclass(frozen=True)
class CellSplit:
    """Caption ids, ascending: `seen` may be trained on, `validation` tuned on, `unseen` only tested on."""

    seen: tuple[int, ...]
    validation: tuple[int, ...]
    unseen: tuple[int, ...]

    def __post_init__(self) -> None:
        if sorted(self.seen + self.validation + self.unseen) != list(range(len(CELLS))):
            raise DataError("captioned digits: the split does not hold each of the 90 captions exactly once")

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of the split's canonical JSON, captions spelled out."""
        return hashlib.sha256(json.dumps(self.as_captions(), sort_keys=True).encode()).hexdigest()

    def as_captions(self) -> dict[str, list[str]]:
        """The split in words, as the committed file lists it."""
        groups = {"seen": self.seen, "validation": self.validation, "unseen": self.unseen}
        return {group: [CAPTIONS[i] for i in ids] for group, ids in groups.items()}


def committed_split() -> CellSplit:
    """The split that `captioned_digits.json` lists: the one every result is measured with."""
    listed = json.loads((files("latentbench.data") / "captioned_digits.json").read_text())
    groups = ("seen", "validation", "unseen")
    return CellSplit(*(tuple(CAPTIONS.index(text) for text in listed[group]) for group in groups))


def design_split() -> CellSplit:
    """Design the split anew; it equals the committed one.

    The digits are put in a hashed order on a circle of ten. Each of the nine pairs of stroke and
    slant is unseen for two digits and validation for one, at fixed distances round the circle. So
    every stroke and every slant has six unseen and three validation cells, every digit one or two
    unseen and at most one validation cell, and every digit is still seen with every stroke and every
    slant.
    """
    circle = sorted(range(10), key=lambda digit: hashlib.sha256(DIGIT_WORDS[digit].encode()).hexdigest())
    unseen: list[Cell] = []
    validation: list[Cell] = []
    for pair, (stroke, slant) in enumerate(product(range(3), range(3))):
        first, second, third = (circle[(pair + step) % 10] for step in (0, 4, 8))
        unseen += [(first, stroke, slant), (second, stroke, slant)]
        validation += [(third, stroke, slant)]
    held_out = {*unseen, *validation}
    seen = [cell for cell in CELLS if cell not in held_out]
    return CellSplit(_ids(seen), _ids(validation), _ids(unseen))


def _ids(cells: list[Cell]) -> tuple[int, ...]:
    return tuple(sorted(CELLS.index(cell) for cell in cells))
