import json
from collections import Counter
from importlib.resources import files

import pytest

from latentbench.data import DataError
from latentbench.data.cells import CAPTIONS, CELLS, CellSplit, committed_split, design_split

SPLIT = committed_split()


def test_ninety_different_captions_in_simple_words():
    assert len(set(CAPTIONS)) == 90
    assert CAPTIONS[0] == "a thin zero leaning left"
    assert CAPTIONS[7 * 9 + 2 * 3 + 1] == "a bold seven standing upright"
    assert all(word.isalpha() and word.islower() for text in CAPTIONS for word in text.split())


def test_the_committed_split_is_the_designed_one():
    listed = json.loads((files("latentbench.data") / "captioned_digits.json").read_text())
    assert listed == design_split().as_captions()
    assert design_split() == SPLIT
    # Changing the split changes what zero-shot results mean: this hash must not move by accident.
    assert SPLIT.hash == "cdfe7efa8d8dc32a861d549ff246e0298e13dd8519210e3dd9b6246992b97124"


def test_sizes_and_balance():
    assert (len(SPLIT.seen), len(SPLIT.validation), len(SPLIT.unseen)) == (63, 9, 18)
    digits, strokes, slants = (Counter(CELLS[i][factor] for i in SPLIT.unseen) for factor in range(3))
    assert len(digits) == 10
    assert set(digits.values()) == {1, 2}
    assert set(strokes.values()) == set(slants.values()) == {6}
    assert set(Counter(CELLS[i][1:] for i in SPLIT.unseen).values()) == {2}
    assert set(Counter(CELLS[i][1:] for i in SPLIT.validation).values()) == {1}
    assert set(Counter(CELLS[i][0] for i in SPLIT.validation).values()) == {1}


def test_every_attribute_is_seen_with_at_least_five_others():
    seen = [CELLS[i] for i in SPLIT.seen]
    for factor, values in ((0, 10), (1, 3), (2, 3)):
        for value in range(values):
            others = {cell[:factor] + cell[factor + 1 :] for cell in seen if cell[factor] == value}
            assert len(others) >= 5
    # Stronger: each digit is seen with each stroke and each slant, each stroke with each slant.
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert len({(cell[a], cell[b]) for cell in seen}) == len({(cell[a], cell[b]) for cell in CELLS})


def test_a_split_must_hold_each_caption_once():
    with pytest.raises(DataError, match="each of the 90 captions exactly once"):
        CellSplit(SPLIT.seen, SPLIT.validation, (*SPLIT.unseen, SPLIT.seen[0]))
    with pytest.raises(DataError, match="exactly once"):
        CellSplit(SPLIT.seen[1:], SPLIT.validation, SPLIT.unseen)


def test_another_split_has_another_hash():
    moved = CellSplit(SPLIT.seen[1:], SPLIT.validation, (*SPLIT.unseen, SPLIT.seen[0]))
    assert moved.hash != SPLIT.hash
