"""Captioned digits: MNIST redrawn so that words name more than the digit, with words combined anew.

Ten digits, three stroke widths and three slants make 90 captions such as "a bold seven leaning
left". A model is trained on 63 of them and tested on 18 others: each word is known, the combination
is not, so the accuracy on them is zero-shot in earnest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentbench.data.cells import CAPTIONS, CELLS, committed_split
from latentbench.data.errors import DataError
from latentbench.data.images import ImageData, Split
from latentbench.data.mnist import DIGITS
from latentbench.data.restyling import restyle

STROKE_WIDTHS = (1.5, 3.0, 4.5)
"""Pixels across a thin, a normal and a bold stroke."""
SLANT_SHEARS = (0.4, 0.0, -0.4)
"""Pixels to the right per pixel downwards, leaning left, upright and right; 0.4 is about 22 degrees."""

TRAIN_COUNT = 30_000
TUNING_COUNT = 2_000
SEEN_TEST_COUNT = 5_000
CACHED = 4
"""Draws kept in memory, about 33 MB each: a few seeds, shared by every model."""


@dataclass(frozen=True, eq=False)
class CaptionedImages:
    """`images` uint8 `[N, 1, 28, 28]`; `captions` int64 `[N]`, each the id of its image's caption."""

    images: Tensor
    captions: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class CaptionedDigits:
    """Digits with captions, split by caption. The tensors are shared: do not write to them.

    `captions` are the 90 texts by id and `factors` int64 `[90, 3]` their digit, stroke and slant;
    `seen`, `validation` and `unseen` are caption ids. `train` and `test_seen` hold seen captions
    only, `tuning` validation captions only (for choosing settings), `test_unseen` unseen ones only.
    Images of `train` and `tuning` come from the training split, those of the tests from the test
    split; no image is drawn twice. `split_hash` is the sha256 of the caption split.
    """

    captions: tuple[str, ...]
    factors: Tensor
    seen: tuple[int, ...]
    validation: tuple[int, ...]
    unseen: tuple[int, ...]
    train: CaptionedImages
    tuning: CaptionedImages
    test_seen: CaptionedImages
    test_unseen: CaptionedImages
    split_hash: str

    def __post_init__(self) -> None:
        parts = ("train", self.seen), ("tuning", self.validation), ("test_seen", self.seen)
        for part, allowed in (*parts, ("test_unseen", self.unseen)):
            strays = sorted(set(getattr(self, part).captions.tolist()) - set(allowed))
            if strays:
                raise DataError(
                    f"captioned digits: {part} holds {self.captions[strays[0]]!r}, kept out of it"
                )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the captions once, in alphabetical order: lower case, no punctuation."""
        return tuple(sorted({word for text in self.captions for word in text.split()}))


_cache: dict[tuple[str, int, int], CaptionedDigits] = {}


def captioned_digits(data: ImageData, *, seed: int = 0, train_count: int = TRAIN_COUNT) -> CaptionedDigits:
    """Redraw MNIST as captioned digits.

    `data` must look like MNIST: 1 channel, 28x28, classes `"0"` to `"9"`; anything else raises
    `DataError`. `train_count` images of the training split are drawn each in one random seen cell of
    its digit; 5,000 test images (half of them, where there are fewer) likewise, and the others in an
    unseen cell. `seed` decides which image goes where and in which cell; the split of the captions
    never changes. The same data, seed and count give the same tensors, kept in memory for the next
    call.
    """
    _check(data, train_count)
    key = (data.fingerprint, seed, train_count)
    if key not in _cache:
        while len(_cache) >= CACHED:
            _cache.pop(next(iter(_cache)))
        _cache[key] = _draw(data, seed, train_count)
    return _cache[key]


def _check(data: ImageData, train_count: int) -> None:
    if data.image_shape != (1, 28, 28) or data.classes != DIGITS:
        raise DataError(
            f"{data.name}: captioned digits need 28x28 grey images of the classes 0 to 9, as mnist has; "
            f"got {list(data.image_shape)} and {len(data.classes)} classes ({', '.join(data.classes[:3])}, …)"
        )
    if not 1 <= train_count <= len(data.train):
        raise DataError(f"{data.name}: train_count must be 1 to {len(data.train)}, got {train_count}")


def _draw(data: ImageData, seed: int, train_count: int) -> CaptionedDigits:
    split = committed_split()
    generator = torch.Generator().manual_seed(seed)
    train_order = torch.randperm(len(data.train), generator=generator)
    test_order = torch.randperm(len(data.test), generator=generator)
    seen_count = min(SEEN_TEST_COUNT, len(data.test) // 2)
    return CaptionedDigits(
        captions=CAPTIONS,
        factors=torch.tensor(CELLS),
        seen=split.seen,
        validation=split.validation,
        unseen=split.unseen,
        train=_captioned(data.train, train_order[:train_count], split.seen, generator),
        tuning=_captioned(data.train, train_order[train_count:][:TUNING_COUNT], split.validation, generator),
        test_seen=_captioned(data.test, test_order[:seen_count], split.seen, generator),
        test_unseen=_captioned(data.test, test_order[seen_count:], split.unseen, generator),
        split_hash=split.hash,
    )


def _captioned(
    source: Split, order: Tensor, allowed: tuple[int, ...], generator: Generator
) -> CaptionedImages:
    """Draw the images that `order` picks, each in a random one of the allowed cells of its digit.

    Images of a digit without an allowed cell are left out.
    """
    assert source.labels is not None  # classes were checked, and they come with labels
    cells_of_digit = [[i for i in allowed if CELLS[i][0] == digit] for digit in range(10)]
    count = torch.tensor([len(cells) for cells in cells_of_digit])
    table = torch.nn.utils.rnn.pad_sequence([torch.tensor(cells) for cells in cells_of_digit], True).long()
    order = order[count[source.labels[order]] > 0]
    digit = source.labels[order]
    choice = (torch.rand(len(order), generator=generator) * count[digit]).long()
    captions = table[digit, choice]
    _, stroke, slant = torch.tensor(CELLS)[captions].unbind(1)
    images = restyle(
        source.images[order],
        stroke_width=torch.tensor(STROKE_WIDTHS)[stroke],
        slant=torch.tensor(SLANT_SHEARS)[slant],
    )
    return CaptionedImages(images, captions)
