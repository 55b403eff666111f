"""Connects to a Ray cluster, or says in one line why not."""

from __future__ import annotations

import logging
import os
import re
import socket
import warnings
from typing import Any

from latentbench.bench.executors.settings import CLIENT
from latentbench.data.errors import LatentbenchError

ANSWER_SECONDS = 10.0
HOST_AND_PORT = re.compile(rf"(?:{CLIENT})?([^/\s:]+):(\d{{1,5}})")


def connected(address: str | None) -> Any:
    """Return the module ray, connected to `address`, the cluster of $RAY_ADDRESS, or one of this machine.

    Raises LatentbenchError if Ray is not installed, or if no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise LatentbenchError(
            "--executor ray needs the package ray: python -m pip install 'latentbench[ray]'"
        ) from None
    asked = address or os.environ.get("RAY_ADDRESS", "")
    where = f"--executor {address}" if address else f"RAY_ADDRESS={asked}" if asked else "--executor ray"
    _refuse_silent(asked, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is in the error
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise LatentbenchError(f"{where}: cannot connect to a Ray cluster: {brief(error)}") from None
    return ray


def _refuse_silent(address: str, where: str) -> None:
    """Raise LatentbenchError if nothing listens at an address: Ray itself would try for many minutes."""
    found = HOST_AND_PORT.fullmatch(address)
    if found is None:
        return
    start = "ray start --head" + (" --ray-client-server-port=PORT" if address.startswith(CLIENT) else "")
    try:
        socket.create_connection((found[1], int(found[2])), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise LatentbenchError(
            f"{where}: no Ray cluster answers there ({error}); start one with: {start}"
        ) from None


def brief(error: Exception) -> str:
    """Return the first sentence of Ray's long messages."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("\x1b[33m(raylet)\x1b[0m ")[:200]
