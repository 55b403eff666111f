"""Which item belongs to the test split, where a data set comes without one, and in what order items come."""

from __future__ import annotations

import hashlib

TEST_SHARE = 6


def hash_of(key: str) -> int:
    """A number below 2⁶⁴ that the item called `key` has on every machine and with every version."""
    # File names that are not valid text arrive as lone surrogates.
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")


def in_test(key: str) -> bool:
    """Whether the item called `key` is a test item: true for about 1 in 6.

    A hash of the key alone decides, so an item stays in its split whatever else is added, removed
    or listed in another order.
    """
    return hash_of(key) % TEST_SHARE == 0
