"""Values and errors are rounded together, and never to nothing."""

import pytest

from latentbench.data.text.numbers import duration, number, quantity, significant, with_error


@pytest.mark.parametrize(
    ("value", "error", "decimals", "expected"),
    [
        (189_765.4, 53_646.2, 3, "190,000 ± 54,000"),
        (211_432.0, 23_126.0, 0, "211,000 ± 23,000"),
        (0.84219, 0.00317, 3, "0.8422 ± 0.0032"),
        (0.5, 0.0996, 3, "0.50 ± 0.10"),
        (9.96, 0.996, 3, "10.0 ± 1.0"),
        (-0.0004, 0.012, 3, "0.000 ± 0.012"),
        (-3.14159, 12.0, 3, "-3 ± 12"),
        (16.0, None, 2, "16.00"),
        (None, None, 2, "–"),
        (0.737, 0.0, 3, "0.737 ± 0"),
        (0.442, 5.6e-17, 3, "0.442 ± 0"),
        (0.123456, 1.24e-9, 3, "0.123 ± 1.2e-09"),
    ],
)
def test_value_and_error_share_their_last_digit(value, error, decimals, expected):
    assert with_error(value, error, decimals) == expected


def test_a_small_value_keeps_two_digits():
    assert [number(0.000123), number(0.0), number(0.5)] == ["0.00012", "0.000", "0.500"]


def test_no_number_has_an_exponent_unless_it_is_tiny():
    assert [significant(each) for each in (123456, 0.01234, 99.96, 1.5, 1e-9)] == [
        "123,000",
        "0.0123",
        "100",
        "1.5",
        "1e-09",
    ]


def test_durations_are_in_the_unit_that_suits_them():
    seconds = (None, 4.5e-5, 0.0123, 1.5, 250.0, 9000.0)
    assert list(map(duration, seconds)) == ["–", "45 µs", "12.3 ms", "1.5 s", "4 min 10 s", "2.5 h"]


def test_a_quantity_rounds_in_the_unit_that_is_shown():
    assert quantity(1.234e-4, "s", 1.2e-5) == "123 ± 12 µs"
    assert quantity(16.0, "dB", 0.031) == "16.000 ± 0.031 dB"
    assert quantity(0.5, "") == "0.500"
