"""Packages: the wheel has all of them, they are small, and CONTRIBUTING.md says what is in them."""

import ast
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = [
    path for top in ("data", "models", "analysis", "bench") for path in sorted((ROOT / top).rglob("*.py"))
]


def test_the_wheel_has_every_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    present = {
        f"latentbench.{path.parent.relative_to(ROOT).as_posix().replace('/', '.')}" for path in SOURCES
    }
    assert listed == present


def test_no_package_has_more_than_eight_modules():
    counts = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > 8} == {}


def test_contributing_names_every_sub_package():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for top in ("data", "models", "analysis", "bench"):
        row = next(line for line in text.splitlines() if line.startswith(f"| `{top}/` |"))
        folders = {path.parent.name for path in (ROOT / top).glob("*/__init__.py")}
        assert folders
        assert {name for name in folders if f"`{name}`" not in row} == set()


def test_a_file_over_300_lines_says_why():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 300:
            assert "long" in (ast.get_docstring(ast.parse(text)) or ""), path
