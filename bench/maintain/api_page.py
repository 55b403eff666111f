"""docs/api.md, written from the docstrings of the public functions.

python -m latentbench.bench.maintain.api_page
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from latentbench import analysis

PAGE = Path("docs/api.md")
HEAD = """# Python API

```python
from latentbench.analysis import measure

print(measure(my_model, "mnist", analyses=["reconstruction", "sampling"]))
```

`measure` takes any module with `encode` and `decode`, and returns a result that prints as a table and
converts to pandas. The other functions are the formulas behind the metrics, as pure functions of tensors.
Import them from `latentbench.analysis`. This list is stable; everything else in the package may change.

This page is written from the docstrings by `python -m latentbench.bench.maintain.api_page`.
"""


def page() -> str:
    """The page: for each public function its signature and its docstring."""
    return HEAD + "".join(_section(name) for name in analysis.__all__)


def _section(name: str) -> str:
    function = getattr(analysis, name)
    documentation = inspect.getdoc(function) or ""
    return f"\n## {name}\n\n```python\n{name}{_signature(function)}\n```\n\n```text\n{documentation}\n```\n"


def _signature(function: object) -> str:
    assert callable(function)
    signature = str(inspect.signature(function))
    return signature.replace("'", "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
