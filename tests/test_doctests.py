"""Every example in a docstring gives the result that it shows."""

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ("latentbench.data", "latentbench.models", "latentbench.analysis", "latentbench.bench")


def modules():
    for name in PACKAGES:
        package = importlib.import_module(name)
        yield name
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if "speed" not in found.name:
                yield found.name


@pytest.mark.parametrize("name", list(modules()))
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
