import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentbench.data.errors import LatentbenchError
from latentbench.models.networks.tokenizer import PAD, START, Tokenizer, split_words

CAPTIONS = ["a bold seven leaning left", "a thin one upright", "an ordinary zero leaning right"]
WORDS = sorted({word for caption in CAPTIONS for word in caption.split()})


def test_a_caption_is_start_words_end_padding() -> None:
    tokenizer = Tokenizer(CAPTIONS)
    row = tokenizer.encode(["a thin one upright"])[0].tolist()
    words = [2 + WORDS.index(word) for word in ("a", "thin", "one", "upright")]
    assert row == [START, *words, tokenizer.end, *[PAD] * 6]


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=10), min_size=1, max_size=5))
def test_encoding_loses_nothing_and_ends_at_the_highest_id(chosen: list[list[str]]) -> None:
    tokenizer = Tokenizer(CAPTIONS)
    ids = tokenizer.encode([" ".join(words) for words in chosen])
    assert ids.dtype == torch.int64
    assert ids.shape == (len(chosen), 12)
    assert tokenizer.decode(ids) == [" ".join(words) for words in chosen]
    assert ids.argmax(1).tolist() == [len(words) + 1 for words in chosen]
    assert int(ids.max()) == tokenizer.size - 1


def test_vocabulary_is_the_same_for_any_order_of_captions() -> None:
    assert Tokenizer(CAPTIONS).words == Tokenizer(reversed(CAPTIONS)).words == Tokenizer(WORDS).words


def test_case_and_punctuation_do_not_matter() -> None:
    tokenizer = Tokenizer(CAPTIONS)
    plain, written = tokenizer.encode(["a bold seven leaning left", "A bold seven, leaning left."])
    assert torch.equal(plain, written)
    assert split_words("it's T-shirt/top 7") == ["it's", "t", "shirt", "top", "7"]


def test_an_unknown_word_is_named_with_those_that_are_known() -> None:
    with pytest.raises(LatentbenchError, match=r"unknown word 'huge' in caption 'a huge one'; known: a, an"):
        Tokenizer(CAPTIONS).encode(["a thin one", "a huge one"])


def test_caption_of_wrong_length_is_an_error() -> None:
    tokenizer = Tokenizer(CAPTIONS, context=5)
    assert tokenizer.encode(["a thin one"])[0, -1] == tokenizer.end
    with pytest.raises(LatentbenchError, match=r"'a thin one upright' has 4 words; allowed: 1 to 3"):
        tokenizer.encode(["a thin one upright"])
    with pytest.raises(LatentbenchError, match=r"'\.\.\.' has 0 words"):
        tokenizer.encode(["..."])


def test_a_bare_string_or_a_tiny_context_is_refused() -> None:
    with pytest.raises(LatentbenchError, match="must be a list of strings"):
        Tokenizer(CAPTIONS).encode("a")
    with pytest.raises(LatentbenchError, match="context must be ≥ 3"):
        Tokenizer(CAPTIONS, context=2)
