"""A cache for each test, and files with weights."""

import io

import pytest
import torch


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path):
    """`write(content)` puts bytes, or what torch.save makes of an object, under a name that says nothing."""

    def write(content, **how):
        if not isinstance(content, bytes):
            buffer = io.BytesIO()
            torch.save(content, buffer, **how)
            content = buffer.getvalue()
        path = tmp_path / "weights.bin"
        path.write_bytes(content)
        return path

    return write
