"""Every example in a docstring is true."""

import doctest
import importlib
import pkgutil

import pytest

ROOMS = ("latentbench.data", "latentbench.models", "latentbench.analysis", "latentbench.bench")


def modules():
    for room in ROOMS:
        package = importlib.import_module(room)
        yield room
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            if "speed" not in found.name:
                yield found.name


@pytest.mark.parametrize("name", list(modules()))
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
