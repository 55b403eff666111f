import hashlib
import json
from collections import Counter
from importlib.resources import files
from itertools import product

import pytest

from latentbench.data import DataError
from latentbench.data.captioned.schemes import (
    CLOTHES_CAPTIONS,
    DIGIT_CAPTIONS,
    SCHEMES,
    CellSplit,
    committed_split,
)

# Changing a split changes what zero-shot results mean: these must not move by accident.
HASHES = {
    "captioned digits": "cdfe7efa8d8dc32a861d549ff246e0298e13dd8519210e3dd9b6246992b97124",
    "captioned clothes": "6fd0db5d4065d71ae08de13fe4a5cc4facbe95eb1f17b199e6fcf2340f676385",
}


def design_split(scheme):
    """Derive the split of a scheme as it was made when it was committed.

    The ten classes are put in a hashed order on a circle. Each of the nine pairs of values of the other
    two factors is unseen for two classes and validation for one, at fixed distances round the circle. So
    every value of those factors has six unseen and three validation cells, every class one or two unseen
    and at most one validation cell, and every class is still seen with every value.
    """
    words = scheme.factors[0].words
    circle = sorted(range(len(words)), key=lambda value: hashlib.sha256(words[value].encode()).hexdigest())
    unseen, validation = [], []
    for pair, (second, third) in enumerate(product(range(3), range(3))):
        one, other, last = (circle[(pair + step) % 10] for step in (0, 4, 8))
        unseen += [(one, second, third), (other, second, third)]
        validation += [(last, second, third)]
    held_out = {*unseen, *validation}
    seen = [cell for cell in scheme.cells if cell not in held_out]
    return CellSplit(scheme, *(_ids(scheme, cells) for cells in (seen, validation, unseen)))


def _ids(scheme, cells):
    return tuple(sorted(scheme.cells.index(cell) for cell in cells))


every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)


def test_ninety_different_captions_in_simple_words():
    captions = DIGIT_CAPTIONS.captions
    assert len(set(captions)) == len(set(CLOTHES_CAPTIONS.captions)) == 90
    assert captions[0] == "a thin zero leaning left"
    assert captions[7 * 9 + 2 * 3 + 1] == "a bold seven standing upright"
    assert CLOTHES_CAPTIONS.captions[4 * 9 + 2 * 3] == "a small bright coat"
    assert all(word.isalpha() and word.islower() for text in captions for word in text.split())


@every_scheme
def test_the_committed_split_is_the_designed_one(scheme):
    listed = json.loads((files("latentbench.data.captioned") / scheme.file).read_text())
    assert listed == design_split(scheme).as_captions()
    assert design_split(scheme) == committed_split(scheme)
    assert committed_split(scheme).hash == HASHES[scheme.name]


@every_scheme
def test_sizes_and_balance(scheme):
    split, cells = committed_split(scheme), scheme.cells
    assert (len(split.seen), len(split.validation), len(split.unseen)) == (63, 9, 18)
    classes, second, third = (Counter(cells[i][factor] for i in split.unseen) for factor in range(3))
    assert len(classes) == 10
    assert set(classes.values()) == {1, 2}
    assert set(second.values()) == set(third.values()) == {6}
    assert set(Counter(cells[i][1:] for i in split.unseen).values()) == {2}
    assert set(Counter(cells[i][1:] for i in split.validation).values()) == {1}
    assert set(Counter(cells[i][0] for i in split.validation).values()) == {1}


@every_scheme
def test_every_attribute_is_seen_with_at_least_five_others(scheme):
    cells = scheme.cells
    seen = [cells[i] for i in committed_split(scheme).seen]
    for factor, values in ((0, 10), (1, 3), (2, 3)):
        for value in range(values):
            others = {cell[:factor] + cell[factor + 1 :] for cell in seen if cell[factor] == value}
            assert len(others) >= 5
    # Stronger: each class is seen with each value of the others, and those with each other.
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert len({(cell[a], cell[b]) for cell in seen}) == len({(cell[a], cell[b]) for cell in cells})


def test_a_split_must_hold_each_caption_once():
    split = committed_split(DIGIT_CAPTIONS)
    with pytest.raises(DataError, match="each of the 90 captions exactly once"):
        CellSplit(DIGIT_CAPTIONS, split.seen, split.validation, (*split.unseen, split.seen[0]))
    with pytest.raises(DataError, match="exactly once"):
        CellSplit(DIGIT_CAPTIONS, split.seen[1:], split.validation, split.unseen)


def test_another_split_has_another_hash():
    split = committed_split(DIGIT_CAPTIONS)
    moved = CellSplit(DIGIT_CAPTIONS, split.seen[1:], split.validation, (*split.unseen, split.seen[0]))
    assert moved.hash != split.hash


@every_scheme
def test_only_shortened_templates_leave_something_out(scheme):
    names = [factor.name for factor in scheme.factors]
    for template in scheme.templates + scheme.reworded:
        assert len(set(scheme.captions_by(template))) == 90
        assert all(f"{{{name}}}" in template for name in names)
    for template in scheme.shortened:
        assert len(set(scheme.captions_by(template))) in (30, 10)


@every_scheme
def test_reworded_templates_use_only_trained_words(scheme):
    def words(templates):
        return {
            w for t in templates for text in scheme.captions_by(t) for w in text.replace(",", " ").split()
        }

    trained = {word.rstrip(":") for word in words(scheme.templates)}
    assert {word.rstrip(":") for word in words(scheme.reworded + scheme.shortened)} <= trained
    assert not set(scheme.reworded) & set(scheme.templates)
