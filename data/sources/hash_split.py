"""Splits a data set that comes without a test split, and orders its items, by hashes."""

from __future__ import annotations

import hashlib

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
