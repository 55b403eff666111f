"""Captioned images: digits and garments redrawn so that captions name more than the class.

Ten digits, three stroke widths and three slants make 90 captions such as "a bold seven leaning left";
ten garments, three brightnesses and three sizes make 90 such as "a small bright coat". A model is trained
on 63 of them and tested on 18 others. It has seen each of their words but never the combination, so the
accuracy on them is zero-shot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentbench.data.captioned.redraw_digits import restyle
from latentbench.data.captioned.redraw_garments import relight
from latentbench.data.captioned.schemes import (
    CLOTHES_CAPTIONS,
    DIGIT_CAPTIONS,
    CaptionScheme,
    committed_split,
)
from latentbench.data.errors import DataError
from latentbench.data.images import ImageData, Split
from latentbench.data.sources.named_sets.catalogue import dataset
from latentbench.data.sources.named_sets.class_names import DIGITS, GARMENTS
from latentbench.data.sources.named_sets.fashion_mnist import fashion_mnist
from latentbench.data.sources.named_sets.mnist import mnist

STROKE_WIDTHS = (1.5, 3.0, 4.5)
"""Pixels across a thin, a normal and a bold stroke."""
SLANT_SHEARS = (0.4, 0.0, -0.4)
"""Pixels to the right per pixel downwards, leaning left, upright and right; 0.4 is about 22 degrees."""
BRIGHTNESSES = (0.25, 0.5, 0.75)
"""Mean grey of a dark, a grey and a bright garment."""
EXTENTS = (14.0, 20.0, 26.0)
"""Pixels of the longer side of a small, a medium and a large garment."""

TRAIN_COUNT = 30_000
VALIDATION_COUNT = 2_000
"""The number of train images redrawn with validation captions when settings were chosen."""
SEEN_TEST_COUNT = 5_000


@dataclass(frozen=True, eq=False)
class CaptionedImages:
    """`images` uint8 `[N, 1, 28, 28]`; `captions` int64 `[N]`, each the id of its image's caption."""

    images: Tensor
    captions: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class CaptionedData:
    """Images with captions, split by caption. The tensors are shared: do not write to them.

    `captions` are the 90 texts by id and `factors` int64 `[90, 3]` the values of their three factors;
    `seen`, `validation` and `unseen` are caption ids. `train` and `test_seen` hold seen captions
    only, `test_unseen` unseen ones only. Images of `train` come from the training split, those of the
    tests from the test split; no image is drawn twice. `split_hash` is the sha256 of the caption split.
    """

    scheme: CaptionScheme
    seen: tuple[int, ...]
    validation: tuple[int, ...]
    unseen: tuple[int, ...]
    train: CaptionedImages
    test_seen: CaptionedImages
    test_unseen: CaptionedImages
    split_hash: str

    def __post_init__(self) -> None:
        parts = ("train", self.seen), ("test_seen", self.seen), ("test_unseen", self.unseen)
        for part, allowed in parts:
            strays = sorted(set(getattr(self, part).captions.tolist()) - set(allowed))
            if strays:
                raise DataError(
                    f"{self.scheme.name}: {part} holds {self.captions[strays[0]]!r}, kept out of it"
                )

    @property
    def captions(self) -> tuple[str, ...]:
        """Every caption, by id."""
        return self.scheme.captions

    @property
    def factors(self) -> Tensor:
        """The values of each caption's three factors, int64 `[90, 3]`."""
        return torch.tensor(self.scheme.cells)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the captions once, in alphabetical order: lower case, no punctuation."""
        return tuple(sorted({word for text in self.captions for word in text.split()}))


@dataclass(frozen=True, eq=False)
class CaptionedImageData(ImageData):
    """Captioned images as a data set like any other, labelled by class, together with their captions."""

    captioned: CaptionedData


Redraw = Callable[[Tensor, Tensor], Tensor]
"""Takes images uint8 `[N, 1, 28, 28]` and the cells `[N, 3]` to show; returns the images redrawn."""


def _restyled(images: Tensor, cells: Tensor) -> Tensor:
    _, stroke, slant = cells.unbind(1)
    widths, shears = torch.tensor(STROKE_WIDTHS)[stroke], torch.tensor(SLANT_SHEARS)[slant]
    return restyle(images, stroke_width=widths, slant=shears)


def _relit(images: Tensor, cells: Tensor) -> Tensor:
    _, brightness, size = cells.unbind(1)
    return relight(
        images, extent=torch.tensor(EXTENTS)[size], brightness=torch.tensor(BRIGHTNESSES)[brightness]
    )


_SCHEMES: dict[tuple[str, ...], tuple[CaptionScheme, Redraw]] = {
    DIGITS: (DIGIT_CAPTIONS, _restyled),
    GARMENTS: (CLOTHES_CAPTIONS, _relit),
}
"""The captions and the way of redrawing, by the classes of the data."""


def with_captions(data: ImageData) -> CaptionedData:
    """Return the captions of captioned data, or `draw(data)`; every call returns the same object."""
    return data.captioned if isinstance(data, CaptionedImageData) else data.once(draw)


def draw(data: ImageData, *, seed: int = 0, train_count: int | None = None) -> CaptionedData:
    """Redraw MNIST as captioned digits, or Fashion-MNIST as captioned clothes.

    `data` must look like one of them: 1 channel, 28x28, the same classes; anything else raises
    `DataError`. `train_count` images of the training split (by default 30,000, but at most half of
    them) are each drawn in one random seen cell of their class; 5,000 test images (half of them, if
    there are fewer) likewise, and the others in an unseen cell. `seed` decides which image goes where
    and in which cell; the split of the captions never changes. The same arguments give the same tensors.
    """
    if train_count is None:
        train_count = min(TRAIN_COUNT, len(data.train) // 2)
    _check(data, train_count)
    scheme, redraw = _SCHEMES[data.classes]
    split = committed_split(scheme)
    generator = torch.Generator().manual_seed(seed)
    train_order = torch.randperm(len(data.train), generator=generator)
    test_order = torch.randperm(len(data.test), generator=generator)
    seen_count = min(SEEN_TEST_COUNT, len(data.test) // 2)

    def choose(source: Split, order: Tensor, allowed: tuple[int, ...]) -> _Choice:
        return _choice(source, order, allowed, scheme, generator)

    train = choose(data.train, train_order[:train_count], split.seen)
    # Not drawn, but still chosen: the random numbers of the tests, and so published results, follow these.
    choose(data.train, train_order[train_count:][:VALIDATION_COUNT], split.validation)
    test_seen = choose(data.test, test_order[:seen_count], split.seen)
    test_unseen = choose(data.test, test_order[seen_count:], split.unseen)

    def redrawn(choice: _Choice) -> CaptionedImages:
        cells = torch.tensor(scheme.cells)[choice.captions]
        return CaptionedImages(redraw(choice.source.images[choice.images], cells), choice.captions)

    return CaptionedData(
        scheme=scheme,
        seen=split.seen,
        validation=split.validation,
        unseen=split.unseen,
        train=redrawn(train),
        test_seen=redrawn(test_seen),
        test_unseen=redrawn(test_unseen),
        split_hash=split.hash,
    )


def _check(data: ImageData, train_count: int) -> None:
    if data.image_shape != (1, 28, 28) or data.classes not in _SCHEMES:
        raise DataError(
            f"{data.name}: captions need 28x28 grey images of the classes 0 to 9, as mnist has, or of "
            f"fashion-mnist's; got {list(data.image_shape)} and {len(data.classes)} classes "
            f"({', '.join(data.classes[:3])}, …)"
        )
    if not 1 <= train_count <= len(data.train):
        raise DataError(f"{data.name}: train_count must be 1 to {len(data.train)}, got {train_count}")


@dataclass(frozen=True, eq=False)
class _Choice:
    """The images of a split, int64 `[N]`, that are redrawn to match the captions, int64 `[N]`."""

    source: Split
    images: Tensor
    captions: Tensor


def _choice(
    source: Split, order: Tensor, allowed: tuple[int, ...], scheme: CaptionScheme, generator: Generator
) -> _Choice:
    """Choose for each image of `order` a random one of the allowed captions of its class.

    Images of a class without an allowed caption are left out.
    """
    assert source.labels is not None  # the classes were checked, so there are labels
    classes = len(scheme.factors[0].words)
    cells_of_class = [[i for i in allowed if scheme.cells[i][0] == label] for label in range(classes)]
    count = torch.tensor([len(cells) for cells in cells_of_class])
    table = torch.nn.utils.rnn.pad_sequence([torch.tensor(cells) for cells in cells_of_class], True).long()
    order = order[count[source.labels[order]] > 0]
    label = source.labels[order]
    choice = (torch.rand(len(order), generator=generator) * count[label]).long()
    return _Choice(source, order, table[label, choice])


@dataset(
    "captioned-mnist", "mnist redrawn for captions such as “a bold seven leaning left”; 63 of 90 trained on"
)
def captioned_mnist() -> ImageData:
    """MNIST with three stroke widths and three slants: 30,000 train images of 63 captions, 10,000 test."""
    return as_image_data(mnist(), "captioned-mnist")


@dataset(
    "captioned-fashion-mnist",
    "fashion-mnist redrawn for captions such as “a small bright coat”; 63 of 90 trained on",
)
def captioned_fashion_mnist() -> ImageData:
    """Fashion-MNIST at three sizes and brightnesses: 30,000 train images of 63 captions, 10,000 test."""
    return as_image_data(fashion_mnist(), "captioned-fashion-mnist")


def as_image_data(data: ImageData, name: str) -> CaptionedImageData:
    """The captioned images of `data` as a data set; tests of seen and unseen captions are mixed."""
    drawn = with_captions(data)
    tests = drawn.test_seen, drawn.test_unseen
    images = torch.cat([part.images for part in tests])
    captions = torch.cat([part.captions for part in tests])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    label = drawn.factors[:, 0]
    return CaptionedImageData(
        name,
        Split(drawn.train.images, label[drawn.train.captions]),
        Split(images[order], label[captions[order]]),
        data.classes,
        drawn,
    )
