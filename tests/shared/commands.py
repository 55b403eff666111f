"""The command, run in its own process as a user runs it, or in this one, which has imported torch already."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

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


def latentbench_here(home, *arguments):
    """Run the same command in this process, for tests to which a separate process adds nothing.

    Nothing of what it imports from `home` is left behind.
    """
    from latentbench.bench.cli import options
    from latentbench.bench.cli.app import main

    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    code = 0
    with (
        contextlib.chdir(home),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, {"LATENTBENCH_CACHE": str(home / "cache")}),
        mock.patch.object(sys, "argv", ["latentbench", *arguments]),
        mock.patch.object(sys, "path", [*sys.path]),
        mock.patch.object(options.out, "_width", 200),
        mock.patch.object(options.err, "_width", 200),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    for number, handler in handlers.items():
        signal.signal(number, handler)
    forget_modules(home)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def forget_modules(folder):
    """Let the modules of a folder be imported again."""
    for name, module in [*sys.modules.items()]:
        place = getattr(module, "__file__", None) or getattr(module, "__path__", "")
        if str(folder) in str(place):  # torch cannot be imported twice
            del sys.modules[name]


def wait_until(condition, *, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
