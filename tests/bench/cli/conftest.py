"""A folder with a small suite and a cache that already has judges."""

import pytest
from shared.commands import SUITE


@pytest.fixture
def home(tmp_path, judges):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "judges").symlink_to(judges)
    (tmp_path / "my.yaml").write_text(SUITE.format(data="digits"))
    return tmp_path
