"""An index of the members of a tar file, so that any of them can be read without reading the others."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from latentbench.data.errors import DataError, printable
from latentbench.data.reading.image_files import FilePart

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Member:
    """One file in a tar file: `key` is its path up to the first dot of its name, `suffix` is the rest.

    Members with one key are one sample, as in webdataset.
    """

    name: str
    part: FilePart

    @property
    def key(self) -> str:
        """The path up to the first dot of the file's name."""
        return self.name[: len(self.name) - len(self.suffix) - 1] if self.suffix else self.name

    @property
    def suffix(self) -> str:
        """The text after the first dot of the file's name, in lower case."""
        return PurePosixPath(self.name).name.partition(".")[2].lower()


@dataclass(frozen=True)
class TarIndex:
    """The files in a tar file, in order; `damage` states where reading fails, if it is damaged.

    `left_out` are the names and kinds of the members that are no plain files, such as links without a target.
    """

    members: tuple[Member, ...]
    damage: str | None
    left_out: dict[str, str] = field(default_factory=dict)


def index_of(path: Path) -> TarIndex:
    """List the files in a tar file, hard links among them; those that are cut off are not listed.

    Raises `DataError` for a compressed file, whose members cannot be read by themselves.
    """
    members: list[Member] = []
    parts: dict[str, FilePart] = {}
    left_out: dict[str, str] = {}
    try:
        size = path.stat().st_size
        _refuse_compressed(path)
        with tarfile.open(path, "r:", errorlevel=2) as tar:
            end = 0
            for info in tar:
                end = max(end, info.offset_data + _stored_bytes(info))
                if info.isdir() or end > size:
                    continue
                plain = info.isreg() and not info.issparse()
                own = FilePart(path, info.offset_data, info.size) if plain else None
                part = parts.get(_name(info.linkname)) if info.islnk() else own
                if part is not None:
                    parts[_name(info.name)] = part
                if PurePosixPath(info.name).name.startswith("."):
                    continue
                if part is None:
                    left_out[_name(info.name)] = _kind(info)
                else:
                    members.append(Member(_name(info.name), part))
            cut_off = end > size or not _has_end(path, end)
    except (tarfile.TarError, OSError, ValueError) as error:
        if isinstance(error, OSError) and not isinstance(error, tarfile.TarError) and error.errno:
            raise DataError(f"{path}: {error.strerror}") from None
        return TarIndex(tuple(members), _damage(members, str(error)), left_out)
    return TarIndex(tuple(members), _damage(members, "cut off") if cut_off else None, left_out)


def _name(name: str) -> str:
    return printable(name.removeprefix("./"))


def _stored_bytes(info: tarfile.TarInfo) -> int:
    if info.issparse():
        pieces: list[tuple[int, int]] = getattr(info, "sparse", [])
        return sum(length for _, length in pieces)
    return info.size if info.isreg() else 0


def _kind(info: tarfile.TarInfo) -> str:
    if info.issym():
        return "symbolic links"
    if info.islnk():
        return "hard links without their file"
    return "files with holes" if info.issparse() else "special files"


def _has_end(path: Path, end: int) -> bool:
    """Return True if the block of zeros that ends a tar file follows the last member, which ends at `end`."""
    with open(path, "rb") as file:
        file.seek(-(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
        return file.read(tarfile.BLOCKSIZE) == tarfile.NUL * tarfile.BLOCKSIZE


def _damage(members: list[Member], reason: str) -> str:
    after = f"after {members[-1].name}" if members else "from the start"
    return f"{' '.join(reason.split())[:80]}, {after}"


def _refuse_compressed(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(6)
    for mark, name in COMPRESSED.items():
        if start.startswith(mark):
            raise DataError(
                f"{path}: is compressed with {name}; decompress it, so that images can be found in it"
            )
