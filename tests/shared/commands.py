"""The installed command, run in its own process as a user runs it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

SUITE = """
description: two small models
data: {data}
recipe: {{epochs: 1, batch_size: 256}}
analyses: [reconstruction, likelihood]
models:
  - {{family: pca, latent_dim: 2}}
  - {{family: vae, latent_dim: 2, hidden: 16}}
"""


QUICK = ("--no-figures", "--jobs", "1")
"""One process, and nothing drawn: what most of these tests are about needs neither."""


COMMAND = shutil.which("latentbench", path=str(Path(sys.executable).parent)) or "latentbench"


def latentbench(home, *arguments, **more):
    environment = {**os.environ, "LATENTBENCH_CACHE": str(home / "cache"), "COLUMNS": "200"}
    return subprocess.run(
        [COMMAND, *arguments], cwd=home, env=environment, capture_output=True, text=True, timeout=300, **more
    )


def wait_until(condition, *, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
