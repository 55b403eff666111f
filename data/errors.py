"""Errors a person can mend: the command line prints them as one line, never as a traceback."""


class LatentbenchError(Exception):
    """A mistake in what was asked for.

    The message says what was given, where, and what is allowed, on one line.
    """


class DataError(LatentbenchError):
    """Data that is missing, truncated, mislabelled or unreadable; names the file and the remedy."""
