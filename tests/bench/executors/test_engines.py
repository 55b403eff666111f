"""The messages of engines are many lines long; users see one."""

import pytest

from latentbench.bench.executors.engines import brief


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("sbatch: error: no such partition\nBatch job submission failed", "sbatch: error: no such partition"),
        (
            "Initialization failure from server:\nTraceback:\n  File …\nTimeoutError: late\n",
            "Initialization failure from server: TimeoutError: late",
        ),
        ("Connection failed:", "Connection failed:"),
        ("\x1b[33m(raylet)\x1b[0m The node is full", "The node is full"),
        ("", "ValueError"),
    ],
)
def test_a_long_message_becomes_one_line(message, shown):
    assert brief(ValueError(message)) == shown
