"""Where latentbench keeps what it made and can make again."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_root() -> Path:
    """Where checkpoints are kept: `$LATENTBENCH_CACHE`, or the user's cache folder."""
    override = os.environ.get("LATENTBENCH_CACHE")
    return Path(override) if override else user_cache_path("latentbench")
