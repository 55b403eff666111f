"""Hosts of weights and data sets: whether they can be reached, so that nothing waits for them in vain.

The clients of these hosts retry for half a minute where there is no network, and print each attempt.
"""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

PATIENCE_SECONDS = 5.0


def is_reachable(host: str) -> bool:
    """Return True if a connection to the host, or to the proxy that stands for it, can be opened."""
    proxy = urllib.request.getproxies().get("https", "")
    through = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    if not through.hostname or urllib.request.proxy_bypass(host):
        place = host, 443
    else:
        place = through.hostname, through.port or (443 if through.scheme == "https" else 80)
    try:
        socket.create_connection(place, PATIENCE_SECONDS).close()
    except OSError:
        return False
    return True


def hub_host() -> str:
    """Return the host of the Hugging Face hub, or of the mirror that is set in the environment."""
    from huggingface_hub import constants

    return urlsplit(constants.ENDPOINT).hostname or "huggingface.co"


@contextmanager
def cache_unless_reachable() -> Iterator[None]:
    """Make the hub's clients read their cache alone where the hub cannot be reached."""
    from huggingface_hub import constants

    # `datasets` copies the setting when it is imported.
    settings = [constants, *([sys.modules["datasets"].config] if "datasets" in sys.modules else [])]
    before = [each.HF_HUB_OFFLINE for each in settings]
    offline = any(before) or not is_reachable(hub_host())
    for each in settings:
        each.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        for each, value in zip(settings, before, strict=True):
            each.HF_HUB_OFFLINE = value
