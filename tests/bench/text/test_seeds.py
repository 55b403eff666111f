"""Seeds are a count, a range or a list, and nothing else."""

import pytest

from latentbench.bench.text.seeds import parse_seeds, seeds_option
from latentbench.data.errors import LatentbenchError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (5, (0, 1, 2, 3, 4)),
        ("2", (0, 1)),
        ("5-9", (5, 6, 7, 8, 9)),
        ("7-7", (7,)),
        ("0,3,7", (0, 3, 7)),
        ([4, 2], (4, 2)),
    ],
)
def test_seeds_are_a_count_a_range_or_a_list(given, expected):
    assert parse_seeds(given) == expected


@pytest.mark.parametrize(
    "given",
    ["0", "9-5", "1,1", "-3", "a", "", "1.5", "3000000000,1", 1_000_000_000, True, [], [1.5], ["1"], None],
)
def test_other_seeds_are_refused(given):
    with pytest.raises(ValueError, match="must"):
        parse_seeds(given)


def test_the_option_is_named():
    with pytest.raises(LatentbenchError, match=r"--seeds must be a count such as 5, .* got 'x'"):
        seeds_option("x")
