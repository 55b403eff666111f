"""Data that several families are tested on."""

import pytest

from latentbench.data import load


@pytest.fixture(scope="module")
def digits():
    return load("digits")
