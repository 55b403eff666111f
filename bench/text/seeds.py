"""The seeds of a suite's run: a count, a range, or a list."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from latentbench.data.errors import LatentbenchError

MOST_SEEDS = 100_000
LARGEST = 2**31 - 1
ALLOWED = "a count such as 5, a range such as 5-9, or seeds such as 0,3,7"


def parse_seeds(given: object) -> tuple[int, ...]:
    """Parse seeds. Raises ValueError stating what is allowed.

    >>> parse_seeds("3"), parse_seeds("5-9"), parse_seeds("7,0,3"), parse_seeds([1, 4]), parse_seeds(2)
    ((0, 1, 2), (5, 6, 7, 8, 9), (7, 0, 3), (1, 4), (0, 1))
    """
    if isinstance(given, list | tuple):
        return _checked(
            [seed for seed in given if isinstance(seed, int) and not isinstance(seed, bool)], given
        )
    text = "" if isinstance(given, bool) else str(given).replace(" ", "")
    if not re.fullmatch(r"\d{1,10}(-\d{1,10}|(,\d{1,10})*)", text):
        raise ValueError(f"must be {ALLOWED}")
    first, dash, last = text.partition("-")
    if dash:
        return _checked(range(int(first), int(last) + 1), given)
    listed = [int(each) for each in text.split(",")]
    return _checked(range(listed[0]) if len(listed) == 1 else listed, given)


def _checked(seeds: range | list[int], given: object) -> tuple[int, ...]:
    if isinstance(given, list | tuple) and len(seeds) != len(given):
        raise ValueError(f"must be {ALLOWED}")
    if not seeds:
        raise ValueError(f"must name at least one seed: {ALLOWED}")
    if len(seeds) > MOST_SEEDS:
        raise ValueError(f"must name at most {MOST_SEEDS:,} seeds")
    if min(seeds) < 0 or max(seeds) > LARGEST or len(set(seeds)) != len(seeds):
        raise ValueError(f"must be different whole numbers from 0 to {LARGEST:,}")
    return tuple(seeds)


def seeds_option(text: str) -> tuple[int, ...]:
    """Return the seeds of the option `--seeds`. Raises LatentbenchError."""
    try:
        return parse_seeds(text)
    except ValueError as error:
        raise LatentbenchError(f"--seeds {error}, got {text!r}") from None


def _validated(given: Any) -> tuple[int, ...]:
    return parse_seeds(given)


Seeds = Annotated[tuple[int, ...], BeforeValidator(_validated)]
"""The seeds in a suite's file."""
