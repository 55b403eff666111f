"""Caption schemes: the words that captions consist of, and the captions that models are trained on.

A scheme has three factors, such as digit (10), stroke (3) and slant (3); a cell is one combination of
their values, and has a caption. The split of a scheme's 90 cells into 63 seen, 9 validation and 18
unseen ones is fixed: a committed file lists it, and `CellSplit.hash` is its fingerprint. The test of this
module derives it anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import product

from latentbench.data.errors import DataError
from latentbench.data.sources.named_sets.class_names import GARMENTS

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Cell = tuple[int, int, int]
"""The values of the three factors, each an index into the factor's words."""


@dataclass(frozen=True)
class Factor:
    """One property that captions name, with `words` for each of its values."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class CaptionScheme:
    """A way of describing images: the factors, and the templates that their words are put into.

    The first factor is the class of the image, the other two are set by redrawing it. Models are trained on
    `templates`; the first of them makes the captions as they are listed. `reworded` templates say the same
    in another order of trained words; `shortened` ones leave something out.
    """

    name: str
    file: str
    """The file that lists the split."""
    factors: tuple[Factor, Factor, Factor]
    templates: tuple[str, ...]
    reworded: tuple[str, ...]
    shortened: tuple[str, ...]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell; a cell's position is its caption's id."""
        first, second, third = (range(len(factor.words)) for factor in self.factors)
        return tuple(product(first, second, third))

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """The caption of every cell, in order."""
        return self.captions_by(self.templates[0])

    def captions_by(self, template: str) -> tuple[str, ...]:
        """Return every cell's caption in a template, in order; equal if the template omits the difference."""
        return tuple(self.caption(cell, template) for cell in self.cells)

    def caption(self, cell: Cell, template: str | None = None) -> str:
        """Return the caption of a cell, by default in the first template.

        >>> DIGIT_CAPTIONS.caption((7, 2, 0))
        'a bold seven leaning left'
        """
        words = {f.name: f.words[value] for f, value in zip(self.factors, cell, strict=True)}
        return (template or self.templates[0]).format(**words)


DIGIT_CAPTIONS = CaptionScheme(
    "captioned digits",
    "captioned_digits.json",
    (
        Factor("digit", DIGIT_WORDS),
        Factor("stroke", ("thin", "normal", "bold")),
        Factor("slant", ("leaning left", "standing upright", "leaning right")),
    ),
    templates=(
        "a {stroke} {digit} {slant}",
        "the digit {digit}, {stroke} and {slant}",
        "a handwritten {digit}, {slant}, {stroke}",
        "{slant}: the number {digit} in {stroke} strokes",
    ),
    reworded=(
        "{digit}, {stroke}, {slant}",
        "a {slant} and {stroke} number {digit}",
        "the handwritten digit {digit} in {stroke} strokes, {slant}",
    ),
    shortened=("a {digit} {slant}", "a {stroke} {digit}", "a {digit}"),
)

CLOTHES_CAPTIONS = CaptionScheme(
    "captioned clothes",
    "captioned_clothes.json",
    (
        Factor("garment", GARMENTS),
        Factor("brightness", ("dark", "grey", "bright")),
        Factor("size", ("small", "medium", "large")),
    ),
    templates=(
        "a {size} {brightness} {garment}",
        "the garment {garment}, {brightness} and {size}",
        "a photographed {garment}, {size}, {brightness}",
        "{brightness}: the item {garment} in {size} size",
    ),
    reworded=(
        "{garment}, {size}, {brightness}",
        "a {brightness} and {size} item {garment}",
        "the photographed garment {garment} in {size} size, {brightness}",
    ),
    shortened=("a {brightness} {garment}", "a {size} {garment}", "a {garment}"),
)

SCHEMES = (DIGIT_CAPTIONS, CLOTHES_CAPTIONS)


@dataclass(frozen=True)
class CellSplit:
    """Caption ids, ascending: `seen` may be trained on, `validation` tuned on, `unseen` only tested on."""

    scheme: CaptionScheme
    seen: tuple[int, ...]
    validation: tuple[int, ...]
    unseen: tuple[int, ...]

    def __post_init__(self) -> None:
        count = len(self.scheme.cells)
        if sorted(self.seen + self.validation + self.unseen) != list(range(count)):
            raise DataError(
                f"{self.scheme.name}: the split does not hold each of the {count} captions exactly once"
            )

    @cached_property
    def hash(self) -> str:
        """The sha256 (hex) of the split's canonical JSON, captions spelled out."""
        return hashlib.sha256(json.dumps(self.as_captions(), sort_keys=True).encode()).hexdigest()

    def as_captions(self) -> dict[str, list[str]]:
        """Return the split in words, as the committed file lists it."""
        groups = {"seen": self.seen, "validation": self.validation, "unseen": self.unseen}
        return {group: [self.scheme.captions[i] for i in ids] for group, ids in groups.items()}


def committed_split(scheme: CaptionScheme) -> CellSplit:
    """Return the split that the scheme's file lists, with which every result is measured."""
    listed = json.loads((files("latentbench.data.captioned") / scheme.file).read_text())
    groups = ("seen", "validation", "unseen")
    return CellSplit(
        scheme, *(tuple(scheme.captions.index(text) for text in listed[group]) for group in groups)
    )
