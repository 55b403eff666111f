"""`latentbench doctor`: checks that everything that a run needs is installed and works."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from rich.table import Table

from latentbench import data
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.features.stored_judges import load_judges
from latentbench.analysis.performance.cores import usable_cores
from latentbench.bench.provenance.code import code
from latentbench.bench.provenance.environment import environment
from latentbench.bench.run import suite
from latentbench.bench.store.store import Store
from latentbench.bench.text import escaping, shipped
from latentbench.data.errors import LatentbenchError
from latentbench.models.family import load_installed_families
from latentbench.models.zoo import FAMILIES, cache_root, prepare_cache

ENOUGH_MEMORY, ENOUGH_DISK = 3e9, 1e9


@dataclass(frozen=True)
class Diagnosis:
    """One check: its subject, whether it passes, and its result or its remedy."""

    check: str
    ok: bool
    detail: str


def examine(results: Path) -> list[Diagnosis]:
    """Run every check, in order; a check that fails does not stop the others."""
    checks: dict[str, Callable[[], str]] = {
        "latentbench": _latentbench,
        "packages": _packages,
        "device": _device,
        "memory": _memory,
        "MNIST": _mnist,
        "judges": _judges,
        "suites": lambda: ", ".join(suite.load(name).name for name in shipped.names("suites")),
        "results": lambda: _writable(results),
        "cache": _cache,
        "installed families": _installed_families,
    }
    return [_finding(name, check) for name, check in checks.items()]


def _finding(name: str, check: Callable[[], str]) -> Diagnosis:
    try:
        return Diagnosis(name, True, check())
    except Exception as error:
        return Diagnosis(name, False, " ".join(str(error).split()))


def _latentbench() -> str:
    running = code()
    commit = running.commit[:8] if running.commit else "no checkout"
    changed = " with local changes" if running.dirty else ""
    return f"{running.version}, {commit}{changed}, source {running.source}"


def _packages() -> str:
    from torchvision.ops import nms

    nms(torch.zeros(0, 4), torch.zeros(0), 0.5)  # fails if torch and torchvision do not match
    packages = environment(torch.device("cpu"))["packages"]
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def _device() -> str:
    here = environment(find_device("auto"))
    return f"{here['gpu'] or 'no GPU'}; {here['cpu']}, {here['cpu_cores']} cores, {usable_cores()} usable"


def _memory() -> str:
    available = psutil.virtual_memory().available
    if available < ENOUGH_MEMORY:
        raise LatentbenchError(
            f"{available / 1e9:.1f} GB free; suite mnist needs about {ENOUGH_MEMORY / 1e9:.0f} GB"
        )
    return f"{available / 1e9:.1f} GB free"


def _mnist() -> str:
    mnist = data.load("mnist")
    return f"{len(mnist.train):,} train and {len(mnist.test):,} test images, checksums correct"


def _judges() -> str:
    judges = load_judges(data.load("mnist"))
    return "MNIST judges " + ", ".join(f"{judge.hash[:8]} ({judge.accuracy:.2%})" for judge in judges)


def _writable(results: Path) -> str:
    if not results.exists():
        return f"{results} does not exist yet; the first run creates it"
    Store(results).prepare()
    free = shutil.disk_usage(results).free
    if free < ENOUGH_DISK:
        raise LatentbenchError(
            f"{results} has {free / 1e9:.1f} GB free; make room or choose another with --results"
        )
    return f"{results} is writable, {free / 1e9:.0f} GB free"


def _cache() -> str:
    prepare_cache()
    folder = cache_root() / "checkpoints"
    return f"{len(list(folder.glob('*/model.json')))} trained models in {folder}"


def _installed_families() -> str:
    if failures := load_installed_families():
        raise LatentbenchError("; ".join(failures))
    return f"{len(list(FAMILIES))} families, those of installed packages included"


def render(findings: list[Diagnosis]) -> Table:
    """Return one line per check."""
    table = Table(show_header=False, box=None)
    for finding in findings:
        table.add_row(
            "[green]✓[/]" if finding.ok else "[red]✗[/]", finding.check, escaping.plain(finding.detail)
        )
    return table
