"""Splits data that come without a test split, and orders their images, by hashes."""

from __future__ import annotations

import hashlib

from latentbench.data.errors import DataError
from latentbench.data.reading.image_source import EncodedSource

TEST_SHARE = 6


def hash_of(key: str) -> int:
    """Return a number below 2⁶⁴ for the item called `key`, equal on every machine and in every version."""
    # File names that are not valid text arrive as lone surrogates.
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")


def in_test(key: str) -> bool:
    """Return True if the item called `key` is a test item: about 1 in 6 are.

    A hash of the key alone decides, so an item stays in its split if others are added, removed
    or listed in another order.
    """
    return hash_of(key) % TEST_SHARE == 0


def mixed(source: EncodedSource) -> EncodedSource:
    """Return the same images in the order of a hash of their names, so that the first ones are a sample."""
    return source.take(sorted(range(len(source)), key=lambda index: hash_of(source.names[index])))


def limited(source: EncodedSource, limit: int | None) -> EncodedSource:
    """Return at most `limit` images, those with the lowest hashes of their names, in their order."""
    if limit is None or limit >= len(source):
        return source
    by_hash = sorted(range(len(source)), key=lambda index: hash_of(source.names[index]))
    return source.take(sorted(by_hash[:limit]))


def split_by_hash(source: EncodedSource) -> tuple[EncodedSource, EncodedSource]:
    """Return the train and the test images, in the order of the hash. Raises `DataError` for too few."""
    test = [index for index, name in enumerate(source.names) if in_test(name)]
    train = sorted(set(range(len(source))) - set(test))
    if not (train and test):
        raise DataError(
            f"{source.where}: only {len(source)} images, too few to split by hash (about 1 in {TEST_SHARE} "
            f"to test); add images, or sort them into train and test"
        )
    return mixed(source.take(train)), mixed(source.take(test))
