"""A folder with a small suite and a cache that already has judges and definitions."""

import pytest
from shared.commands import SUITE


@pytest.fixture(scope="session")
def stored_definitions(tmp_path_factory):
    """A folder of the cache that commands fill: without it, each test's first command would import torch."""
    return tmp_path_factory.mktemp("definitions")


@pytest.fixture
def home(tmp_path, judges, stored_definitions):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "judges").symlink_to(judges)
    (tmp_path / "cache" / "definitions").symlink_to(stored_definitions)
    (tmp_path / "my.yaml").write_text(SUITE.format(data="digits"))
    return tmp_path
