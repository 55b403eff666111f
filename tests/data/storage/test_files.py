"""Files are written whole or not at all, and text is read in any Unicode encoding."""

import os
import threading

import pytest

from latentbench.data import DataError
from latentbench.data.storage.files import read_text, write_atomically


def test_a_file_is_written_with_its_folder(tmp_path):
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"whole")

    def full_disk(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"half")
    assert path.read_bytes() == b"whole"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_threads_may_write_one_file(tmp_path):
    """The temporary names differ, so no thread renames the half-written file of another."""
    path = tmp_path / "file"
    contents = [bytes([number]) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=write_atomically, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_by_its_mark(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("Café\n", encoding=encoding)
    assert read_text(tmp_path / "a.txt") == "Café\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a\nb\ncafé".encode("latin-1"),
            r"a\.txt, line 3: byte 0xe9 is not UTF-8 text; save the file as UTF-8",
        ),
        ("abc".encode("utf-16-le"), r"a\.txt: contains NUL characters"),
        (b"\xff\xfea", r"a\.txt, line 1: byte 0x61 is not UTF-16 text"),
    ],
)
def test_other_encodings_are_one_line(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(tmp_path / "a.txt")


def test_a_missing_text_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot be read: No such file or directory"):
        read_text(tmp_path / "none.txt")
