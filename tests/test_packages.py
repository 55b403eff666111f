"""The wheel has every package of the source tree."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_has_every_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    present = {
        f"latentbench.{path.parent.relative_to(ROOT).as_posix().replace('/', '.')}"
        for top in ("data", "models", "analysis", "bench")
        for path in (ROOT / top).rglob("*.py")
    }
    assert listed == present
