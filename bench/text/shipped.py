"""The YAML files of the suites and sweeps that latentbench ships."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

from latentbench.data.text.yaml_text import parse_yaml

Kind = Literal["suites", "sweeps"]

FOLDERS: dict[Kind, str] = {"suites": "run/suites", "sweeps": "sweep/sweeps"}
"""The folder of the files in the package `bench`."""


def names(kind: Kind) -> list[str]:
    """Return the names of the suites or sweeps."""
    files = (resources.files("latentbench.bench") / FOLDERS[kind]).iterdir()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(".yaml"))


def text(kind: Kind, name: str) -> str:
    """Return the content of a file."""
    file = resources.files("latentbench.bench") / FOLDERS[kind] / f"{name}.yaml"
    return file.read_text(encoding="utf-8")


def description(suite: str) -> str:
    """Return what a shipped suite measures; of a user's own suite only the name is known here."""
    if suite not in names("suites"):
        return ""
    content = parse_yaml(text("suites", suite), f"{suite}.yaml")
    assert isinstance(content, dict)
    return str(content["description"])
