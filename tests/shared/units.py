"""Units of work that other processes import; their path must hold the folder of the tests."""

import os
import time

from latentbench.data.errors import DataError


def end(code, context):
    """End the process with a code other than 0, or by the signal of a negative one; return 0 otherwise."""
    if code < 0:
        os.kill(os.getpid(), -code)
    if code:
        os._exit(code)
    return code


def started(path, context):
    """Return how often a unit was started, which its file counts; the first start of `slow` takes minutes."""
    with path.open("a") as file:
        file.write("started\n")
    count = len(path.read_text().splitlines())
    if path.name == "slow" and count == 1:
        time.sleep(600)
    return count


def vanished():
    """Fail to open the context, as a worker does whose data were removed."""
    raise DataError("/photos: does not exist")
