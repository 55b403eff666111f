"""Errors that a user can fix: the command line prints them as one line, never as a traceback."""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

NAMED = 10
"""Things that a message names one by one; it counts the others."""


def printable(text: str) -> str:
    """Return `text` with every byte of a file name that is not UTF-8 written as `\\xNN`.

    Python gives such bytes as lone surrogates, which no UTF-8 terminal or file accepts.

    >>> printable("caf\\udce9.png")
    'caf\\\\xe9.png'
    """
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def some(names: Iterable[str]) -> str:
    """Return the first names of a list, for a message.

    >>> some(["a", "b"])
    'a, b'
    """
    every = [printable(name) for name in names]
    return ", ".join(every[:NAMED]) + (", …" if len(every) > NAMED else "")


def counted(count: int, one: str, several: str) -> str:
    """Return a count with what it counts, in the singular or the plural.

    >>> counted(1, "image has", "images have"), counted(3, "image has", "images have")
    ('1 image has', '3 images have')
    """
    return f"{count:,} {one if count == 1 else several}"


def missing_package(what: str, package: str, extra: str) -> str:
    """Return the sentence about an optional package that is not installed, with the command that installs it.

    >>> missing_package("family diffusers", "diffusers", "diffusers")
    "family diffusers needs the package diffusers: python -m pip install 'latentbench[diffusers]'"
    """
    return f"{what} needs the package {package}: python -m pip install 'latentbench[{extra}]'"


class LatentbenchError(Exception):
    """The error of a mistaken request.

    The message states what was given, where, and what is allowed, on one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class DataError(LatentbenchError):
    """Data that is missing, truncated, mislabelled or unreadable; names the file and the remedy."""


def optional_package(module: str, what: str, package: str, extra: str) -> Any:
    """Import an optional package. Raises LatentbenchError with the command that installs it."""
    try:
        return import_module(module)
    except ImportError:
        raise LatentbenchError(missing_package(what, package, extra)) from None
