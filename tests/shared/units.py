"""Units of work that other processes import; their path must hold the folder of the tests."""

import os


def end(code, context):
    """End the process with a code other than 0; return 0 otherwise."""
    if code:
        os._exit(code)
    return code
