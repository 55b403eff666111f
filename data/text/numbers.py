"""Number formats: a value and its error are rounded together, to two digits of the error."""

from __future__ import annotations

import math

MISSING = "–"
MORE_DECIMALS = 4
"""An error that needs this many more decimals than its metric usually has is written with an exponent."""


ROUNDING = 1e-12
"""An error below this share of the value is that of floating point, and is written as 0."""


def with_error(value: float | None, half_width: float | None, decimals: int = 3) -> str:
    """Format a value and half of its interval, both rounded to two significant digits of the latter.

    Without an error, the value alone with `decimals`.

    >>> with_error(189_765.4, 53_646.2), with_error(0.84219, 0.00317), with_error(16.0, None, 2)
    ('190,000 ± 54,000', '0.8422 ± 0.0032', '16.00')
    """
    shown, error = value_and_error(value, half_width, decimals)
    return f"{shown} ± {error}" if error else shown


def value_and_error(
    value: float | None, half_width: float | None = None, decimals: int = 3
) -> tuple[str, str]:
    """Return the two texts of `with_error`; the second is empty if there is no error."""
    if value is None:
        return MISSING, ""
    if half_width is None:
        return number(value, decimals), ""
    if half_width <= ROUNDING * abs(value):
        return number(value, decimals), "0"
    places = _decimals_of_two_digits(half_width)
    if places > decimals + MORE_DECIMALS:
        return number(value, decimals), f"{half_width:.1e}"
    return _rounded(value, places), _rounded(half_width, places)


def _decimals_of_two_digits(error: float) -> int:
    """Return the decimals at which `error` has two significant digits; negative left of the point."""
    return 1 - int(f"{error:.1e}".partition("e")[2])


def _rounded(value: float, places: int) -> str:
    text = f"{round(value, places):,.{max(places, 0)}f}"
    return text.removeprefix("-") if not any(digit in text for digit in "123456789") else text


def number(value: float, decimals: int = 3) -> str:
    """Format a value without an error: with `decimals`, but at least two digits that are not leading zeros.

    From 100,000 on three significant digits are shown.

    >>> number(0.5, 3), number(0.000123, 3), number(211_432.0), number(0.0)
    ('0.500', '0.00012', '211,000', '0.000')
    """
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1e5:
        return significant(value, 3)
    if value and abs(value) < 10.0**-decimals:
        return significant(value, 2)
    return f"{value:,.{decimals}f}"


def significant(value: float, digits: int = 3) -> str:
    """Format a value with so many significant digits, and no exponent unless it is tiny.

    >>> significant(123456), significant(0.012345), significant(16.0), significant(1.23e-9)
    ('123,000', '0.0123', '16', '1.23e-09')
    """
    if not math.isfinite(value):
        return str(value)
    if value and abs(value) < 1e-6:
        return f"{value:.{digits}g}"
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) >= 10 ** (digits - 1):
        return f"{rounded:,.0f}"
    return f"{rounded:,.12f}".rstrip("0").rstrip(".")


UNITS_OF_TIME = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
UNITS_OF_SIZE = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def duration(seconds: float | None) -> str:
    """Format seconds in a suitable unit.

    >>> duration(1.5), duration(0.0123), duration(4.5e-05), duration(250), duration(9000)
    ('1.5 s', '12.3 ms', '45 µs', '4 min 10 s', '2.5 h')
    """
    if seconds is None:
        return MISSING
    if seconds >= 6000:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 100:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    unit, size = _unit_of_time(seconds)
    return f"{significant(seconds / size)} {unit}"


def _unit_of_time(seconds: float) -> tuple[str, float]:
    return next((each for each in UNITS_OF_TIME if seconds >= each[1]), UNITS_OF_TIME[-1])


def quantity(value: float, unit: str, half_width: float | None = None, decimals: int = 3) -> str:
    """Format a value with its unit, and its error if it has one; seconds in a suitable unit.

    >>> quantity(0.00025, "s"), quantity(1.234e-4, "s", 1.2e-5), quantity(16.0, "dB", 0.031)
    ('250 µs', '123 ± 12 µs', '16.000 ± 0.031 dB')
    """
    if unit == "s":
        unit, size = _unit_of_time(abs(value))
        if half_width is None:
            return f"{significant(value / size)} {unit}"
        return f"{with_error(value / size, half_width / size)} {unit}"
    return f"{with_error(value, half_width, decimals)} {unit}".strip()


def gibibytes(count: int) -> str:
    """Format bytes as whole GiB."""
    return f"{count / 2**30:.0f} GiB"


def file_size(count: int) -> str:
    """Format bytes in a suitable decimal unit, as file managers do.

    >>> file_size(999), file_size(1_234_567), file_size(12_300_000_000)
    ('999 B', '1.2 MB', '12.3 GB')
    """
    unit, size = next((each for each in UNITS_OF_SIZE if count >= each[1]), ("B", 1))
    return f"{count / size:.{0 if size == 1 else 1}f} {unit}"
