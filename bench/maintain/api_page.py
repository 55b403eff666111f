"""Writes docs/api.md from the docstrings of the public functions.

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
import torch
from latentbench.analysis import measure


class Mean(torch.nn.Module):
    def encode(self, x):  # images [B, C, H, W] in [0, 1] to codes [B, D]
        return x.mean(dim=(1, 2, 3)).unsqueeze(1)

    def decode(self, z):  # codes [B, D] to images [B, C, H, W]
        return z.clamp(0, 1).view(-1, 1, 1, 1).expand(-1, 1, 28, 28)


result = measure(Mean(), "mnist", analyses=["reconstruction"])
print(result)
print(result["mse"].value, result.to_frame())
```

`measure` takes any module with `encode` and `decode`, and returns a result that prints as a table and
converts to pandas. The other functions are the formulas behind the metrics, as pure functions of tensors.
Import them from `latentbench.analysis`. This list is stable; everything else in the package may change.

This page is written from the docstrings by `python -m latentbench.bench.maintain.api_page`.
"""


def page() -> str:
    """Return the page: for each public function its signature and its docstring."""
    return HEAD + "".join(_section(name) for name in analysis.__all__)


def _section(name: str) -> str:
    function = getattr(analysis, name)
    documentation = inspect.getdoc(function) or ""
    return f"\n## {name}\n\n```py\n{name}{_signature(function)}\n```\n\n```text\n{documentation}\n```\n"


def _signature(function: object) -> str:
    assert callable(function)
    signature = str(inspect.signature(function))
    return signature.replace("'", "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
