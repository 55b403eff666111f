"""Start-up time of imports and commands, each below a limit: `pytest tests/speed -k startup -s`."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = shutil.which("latentbench", path=str(Path(sys.executable).parent)) or "latentbench"


@pytest.mark.parametrize(
    ("what", "command", "most_seconds"),
    [
        ("latentbench --help", [COMMAND, "--help"], 0.5),
        ("latentbench run --help", [COMMAND, "run", "--help"], 0.5),
        ("import latentbench.bench.cli.app", [sys.executable, "-c", "import latentbench.bench.cli.app"], 0.5),
        ("import latentbench.models.zoo", [sys.executable, "-c", "import latentbench.models.zoo"], 5.0),
        ("latentbench list suites", [COMMAND, "list", "suites"], 8.0),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else None,
)
def test_startup(benchmark, capsys, what, command, most_seconds):
    processor_seconds = []

    def start():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor_seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    benchmark.pedantic(start, rounds=5, warmup_rounds=1)
    least = min(processor_seconds)
    benchmark.extra_info.update(processor_seconds=least, limit_seconds=most_seconds)
    with capsys.disabled():
        median = benchmark.stats.stats.median
        print(f"\n{what}: {median:.2f} s, {least:.2f} s of processor time, at most {most_seconds:g} s")
    # Processor time: what it takes on a machine that does nothing else.
    assert least < most_seconds
