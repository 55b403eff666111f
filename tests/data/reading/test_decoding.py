"""The pool of decoders: order, counts, and images that are hard to read."""

import errno
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image
from shared.transforms import Slow

from latentbench.data import DataError, load
from latentbench.data.reading import decoding
from latentbench.data.reading.decoding import decode
from latentbench.data.sources.image_folder import folder_sources

COUNT = 104


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "test").mkdir()
    for index in range(COUNT):
        Image.new("RGB", (20, 30), (index, 2, 3)).save(tmp_path / "test" / f"{index}.png")
    return tmp_path


class ReadyPool(decoding.ProcessPoolExecutor):
    """A pool that is waited for, so that it has work to do also on a busy machine."""

    def submit(self, function, *args):
        future = super().submit(function, *args)
        if function is os.getpid:
            future.result()
        return future


@pytest.fixture
def _soon(monkeypatch):
    """Let a pool start after the first batch."""
    monkeypatch.setattr(decoding, "TRIAL_IMAGES", 1)
    monkeypatch.setattr(decoding, "WORTH_A_POOL", 0.1)
    monkeypatch.setattr(decoding, "ProcessPoolExecutor", ReadyPool)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_pool_gives_what_one_process_gives(folder, jobs):
    source = folder_sources(folder).test
    pixels = np.concatenate([batch.pixels.copy() for batch in decode(source, Slow(8), jobs=jobs)])[..., 0, 0]
    assert [f"test/{shade}.png" for shade in pixels[:, 0]] == list(source.names)
    processes = {(int(high), int(low)) for high, low in pixels[:, 1:]}
    here = (os.getpid() // 256 % 256, os.getpid() % 256)
    assert here in processes
    assert (len(processes) > 1) == (jobs > 1)


def test_no_pool_is_started_for_what_is_soon_done(folder, monkeypatch):
    monkeypatch.setattr(decoding, "_pooled", None)
    monkeypatch.setattr(decoding, "WORTH_A_POOL", 60)  # a busy machine may take more than the usual seconds
    source = folder_sources(folder).test
    assert sum(len(batch.pixels) for batch in decode(source, Slow(8), jobs=2)) == COUNT


def test_a_script_needs_no_main_guard(folder, tmp_path):
    """Processes of the pool must not run the user's script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from latentbench.data import load\n"
        "print('started')\n"
        f"print(len(load('folder:{folder}?size=8').test))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["started", str(COUNT)]
    assert done.stderr == ""


def kill_this_process(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("_soon")
def test_a_killed_decoder_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(decoding, "decode_into", kill_this_process)
    with pytest.raises(DataError, match="a process that decodes images was ended, as happens when memory"):
        list(decode(folder_sources(folder).test, Slow(8), jobs=2))


@pytest.mark.usefixtures("_soon")
def test_a_full_disk_leaves_decoding_to_one_process(folder, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refused)
    source = folder_sources(folder).test
    shades = [shade for batch in decode(source, Slow(8), jobs=2) for shade in batch.pixels[:, 0, 0, 0]]
    assert [f"test/{shade}.png" for shade in shades] == list(source.names)


def test_progress_counts_every_image(folder):
    told = []
    load(f"folder:{folder}?size=8", progress=lambda *each: told.append(each))
    assert told[0] == ("decoding images", 0, COUNT)
    assert told[-1] == ("decoding images", COUNT, COUNT)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_odd_images_are_read_or_named(tmp_path):
    """Lines, 100 megapixels and empty files: no traceback, no warning, and every one accounted for."""
    (tmp_path / "test").mkdir()
    Image.new("RGB", (1, 10_000), "red").save(tmp_path / "test" / "line.png")
    Image.new("RGB", (10_000, 10_000), "red").save(tmp_path / "test" / "large.jpg")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "test" / "bomb.png")
    (tmp_path / "test" / "empty.png").write_bytes(b"")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "test" / "usual.png")
    with warnings.catch_warnings(record=True) as caught:
        data = load(f"folder:{tmp_path}?size=64")
    assert not caught
    assert data.test.images.shape == (3, 3, 64, 64)
    assert (data.test.images[:, 0] > 250).all()
    names = folder_sources(tmp_path).test.names
    assert data.notes == (
        "1 image has a side shorter than the requested size, and had to be enlarged: test/line.png",
        "2 of 5 files cannot be read as images, left out: "
        + ", ".join(name for name in names if "bomb" in name or "empty" in name),
    )
