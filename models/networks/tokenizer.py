"""Tokenizer of captions, with one small vocabulary and one fixed length for every text encoder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from latentbench.data.captioned.schemes import SCHEMES
from latentbench.data.errors import LatentbenchError

PAD, START = 0, 1


class Tokenizer:
    """A tokenizer of lower-case words from a closed vocabulary.

    Id 0 pads, 1 starts a caption, the words follow in alphabetical order, and the end of the text has
    the highest id: open_clip takes a caption's vector at the arg-max of its ids.

    >>> tokenizer = Tokenizer(["a bold seven", "a thin one"], context=6)
    >>> tokenizer.words
    ('a', 'bold', 'one', 'seven', 'thin')
    >>> tokenizer.encode(["a bold one"])
    tensor([[1, 2, 3, 4, 7, 0]])
    """

    def __init__(self, captions: Iterable[str], *, context: int = 12) -> None:
        """Take the vocabulary from `captions`: whole captions or single words, in any order.

        `context` is the length of an encoded caption, its start and end included, at least 3.
        """
        if context < 3:
            raise LatentbenchError(f"context must be ≥ 3 (start, one word, end), got {context}")
        self.context = context
        self.words = tuple(sorted({word for caption in captions for word in split_words(caption)}))
        self._ids = {word: START + 1 + index for index, word in enumerate(self.words)}

    @property
    def end(self) -> int:
        """The id of the end of the text, which is the highest."""
        return START + 1 + len(self.words)

    @property
    def size(self) -> int:
        """The number of ids, which is the number of rows of an embedding table."""
        return self.end + 1

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Return ids int64 `[N, context]`: start, words, end, padding.

        Raises LatentbenchError for a word outside the vocabulary, and for a caption without words or
        with more than `context` − 2.
        """
        if isinstance(captions, str):
            raise LatentbenchError(f"captions must be a list of strings, got the string {captions!r}")
        ids = torch.full((len(captions), self.context), PAD)
        for row, caption in zip(ids, captions, strict=True):
            tokens = self._tokens(caption)
            row[: len(tokens)] = torch.tensor(tokens)
        return ids

    def decode(self, ids: Tensor) -> list[str]:
        """Return the words of each row of ids `[N, context]`, joined by single spaces."""
        return [" ".join(self.words[i - 2] for i in row if START < i < self.end) for row in ids.tolist()]

    def _tokens(self, caption: str) -> list[int]:
        words = split_words(caption)
        if not 1 <= len(words) <= self.context - 2:
            raise LatentbenchError(
                f"caption {caption!r} has {len(words)} words; allowed: 1 to {self.context - 2}"
            )
        for word in words:
            if word not in self._ids:
                raise LatentbenchError(
                    f"unknown word {word!r} in caption {caption!r}; known: {', '.join(self.words)}"
                )
        return [START, *(self._ids[word] for word in words), self.end]


def caption_tokenizer() -> Tokenizer:
    """Return the tokenizer of every text encoder trained here, with the words of all schemes."""
    templates = [
        (scheme, template)
        for scheme in SCHEMES
        for template in (*scheme.templates, *scheme.reworded, *scheme.shortened)
    ]
    return Tokenizer([text for scheme, template in templates for text in scheme.captions_by(template)])


def split_words(caption: str) -> list[str]:
    """Split a caption into lower-case words at anything but letters, digits and apostrophes.

    >>> split_words("A bold seven, leaning left.")
    ['a', 'bold', 'seven', 'leaning', 'left']
    """
    return re.findall(r"(?:[^\W_]|')+", caption.lower())
