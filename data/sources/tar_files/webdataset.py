"""Images in webdataset's tar files, in the layout that CLIP_benchmark writes.

`wds:shards/{0000..0049}.tar` names tar files; braces hold a range or alternatives, `*` stands for any name.
`wds:FOLDER` names a folder with `train/0.tar`, `test/0.tar` and so on, or with tar files directly in it.
Members with one key are a sample: an image, and its label in `.cls`, which is a number or a class's name.
`classnames.txt` next to the tar files, or one folder above, names the classes by number. With
`zeroshot_classification_templates.txt`, which needs it, the images are to be recognised by name and serve as
test images only. Tar files without a split are split by a hash of each member's name.

A tar file that is missing or cut off, an image without a label among labelled ones, and a label without an
image are left out, counted and named in the data's notes.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from latentbench.data.errors import DataError, counted, printable, some
from latentbench.data.reading.hash_split import mixed
from latentbench.data.reading.image_files import FilePart, is_image_file
from latentbench.data.reading.image_source import EncodedSource, Sources
from latentbench.data.registry import unknown
from latentbench.data.sources.class_names import read_templates
from latentbench.data.sources.folder_listing import (
    LeftOut,
    canonical,
    left_out_note,
    natural_key,
    requested,
    split_folders,
)
from latentbench.data.sources.image_folder import hashed_sources
from latentbench.data.sources.tar_files.tar_index import Member, index_of
from latentbench.data.storage.files import read_text

CLASS_NAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"
LABEL = "cls"
MOST_SHARDS = 100_000


@dataclass
class _Found:
    """The findings from listing tar files."""

    left_out: LeftOut = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.problems, *left_out_note(self.left_out))


def tar_sources(pattern: str, *, relative_to: Path = Path(), split: str | None = None) -> Sources:
    """Return the splits of tar files, after listing their members; no image is read.

    Raises `DataError` if there is no tar file, no image, a label without a class, or no such split.
    """
    where = relative_to / Path(pattern).expanduser()
    folder = where if where.is_dir() else where.parent
    found = _Found()
    parts = _split_patterns(where)
    chosen = requested(split, parts, pattern) if parts and split is not None else None
    names = _class_names(folder)
    if not parts:
        whole = _source(pattern, where / "*.tar" if where.is_dir() else where, names, found)
        templates = _templates(folder, names)
        if templates is None:
            return hashed_sources(whole, split, found.notes)
        return Sources(None, _labelled(whole), notes=found.notes, templates=templates)
    templates = _templates(where, names)
    shards = chosen or parts.get("test", parts.get("validation"))
    if shards is None:
        raise DataError(f"{pattern}: has train/ but no test/; add it, or write split: train")
    test = _source(pattern, shards, names, found)
    if templates is not None:
        return Sources(None, _labelled(test), notes=found.notes, templates=templates)
    if split is not None or "train" not in parts:
        return Sources(None, mixed(test), notes=found.notes)
    train = _source(pattern, parts["train"], names, found)
    train, test = _of_same_classes(train, test)
    return Sources(mixed(train), mixed(test), notes=found.notes)


def _of_same_classes(train: EncodedSource, test: EncodedSource) -> tuple[EncodedSource, EncodedSource]:
    """Give both splits the classes of the one that has more; numbers may end earlier in the other."""
    longest = max(train.classes, test.classes, key=len)
    for source in (train, test):
        if source.classes != longest[: len(source.classes)]:
            raise DataError(
                f"{source.where}: the classes of train ({some(train.classes)}) and of test "
                f"({some(test.classes)}) differ; name them in {CLASS_NAMES}"
            )
    return replace(train, classes=longest), replace(test, classes=longest)


def expanded(pattern: str) -> list[str]:
    """Return the names that a pattern with braces stands for.

    >>> expanded("{a,b}/{008..010}.tar")[:4]
    ['a/008.tar', 'a/009.tar', 'a/010.tar', 'b/008.tar']
    """
    pieces = [_alternatives(piece) for piece in re.split(r"(\{[^{}]*\})", pattern)]
    names = itertools.islice(itertools.product(*pieces), MOST_SHARDS + 1)
    every = ["".join(name) for name in names]
    if len(every) > MOST_SHARDS:
        raise DataError(f"{pattern}: stands for more than {MOST_SHARDS:,} tar files")
    return every


def _alternatives(piece: str) -> Sequence[str]:
    if not piece.startswith("{"):
        return [piece]
    inner = piece[1:-1]
    bounds = re.fullmatch(r"([0-9]{1,9})\.\.([0-9]{1,9})", inner)
    if bounds is None:
        return inner.split(",")
    first, last = bounds.groups()
    width = max(len(first), len(last)) if first.startswith("0") or last.startswith("0") else 0
    numbers = range(int(first), min(int(last), int(first) + MOST_SHARDS) + 1)
    return [str(number).zfill(width) for number in numbers]


def _split_patterns(where: Path) -> dict[str, Path]:
    """Return the tar files of each split of a folder, if it has folders of splits."""
    if not where.is_dir():
        return {}
    folders = [entry for entry in where.iterdir() if entry.is_dir()]
    return {name: folder / "*.tar" for name, folder in split_folders(folders).items()}


def _shards(pattern: Path, found: _Found) -> list[Path]:
    """Return the tar files that exist; missing ones are noted."""
    if "*" in pattern.name:
        names = [path.name for path in pattern.parent.glob("*.tar")]
        wanted = {pattern.parent / name for name in names if PurePosixPath(name).match(pattern.name)}
        count = pattern.parent / "nshards.txt"
        if count.is_file() and (text := read_text(count).strip()).isdecimal() and len(text) < 6:
            wanted |= {pattern.parent / f"{number}.tar" for number in range(int(text))}
        shards = sorted(wanted, key=lambda path: natural_key(path.name))
    else:
        shards = [Path(name) for name in expanded(str(pattern))]
    there = [shard for shard in shards if shard.is_file()]
    if not there:
        raise DataError(f"{pattern}: no such tar files; give a path such as shards/{{0000..0049}}.tar")
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        found.problems.append(f"missing tar files, {len(missing)} of {len(shards)}: {some(missing)}")
    return there


@dataclass(frozen=True)
class _Sample:
    name: str
    image: FilePart
    label: str | None


def _source(where: str, pattern: Path, names: tuple[str, ...] | None, found: _Found) -> EncodedSource:
    samples: list[_Sample] = []
    damaged: list[str] = []
    alone: list[str] = []
    split = pattern.parent.name if canonical(pattern.parent.name) in ("train", "test", "validation") else ""
    shards = _shards(pattern, found)
    for shard in shards:
        index = index_of(shard)
        found.left_out |= {PurePosixPath(shard.name, name): kind for name, kind in index.left_out.items()}
        if index.damage:
            damaged.append(f"{printable(shard.name)} ({index.damage})")
        samples += _samples(shard, index.members, split, found, alone)
    if damaged:
        found.problems.append(
            f"damaged tar files, read up to the damage, {len(damaged)} of {len(shards)}: {some(damaged)}"
        )
    if alone:
        found.problems.append(
            f"{counted(len(alone), 'label has', 'labels have')} no image, left out: {some(alone)}"
        )
    if not samples:
        raise DataError(
            f"{pattern}: no images in {counted(len(shards), 'tar file', 'tar files')}{_so(found)}"
        )
    samples = _with_labels(samples, found)
    classes, labels = _labels(where, samples, names)
    return EncodedSource(where, _unique(samples), tuple(sample.image for sample in samples), labels, classes)


def _samples(
    shard: Path, members: Sequence[Member], split: str, found: _Found, alone: list[str]
) -> Iterator[_Sample]:
    """Yield the samples of one tar file that have an image; count the others."""
    for key, group in itertools.groupby(members, key=lambda member: member.key):
        image: Member | None = None
        label: str | None = None
        for member in group:
            if image is None and is_image_file(Path(member.name)):
                image = member
            elif member.suffix == LABEL:
                label = _label_of(member)
            else:
                kind = f".{member.suffix}" if member.suffix else "without a suffix"
                found.left_out[PurePosixPath(shard.name, member.name)] = kind
        if image is not None:
            name = f"{split}/{image.name}" if split else image.name
            yield _Sample(name, image.part, label)
        elif label is not None:
            alone.append(f"{printable(shard.name)}: {key}")


def _label_of(member: Member) -> str:
    try:
        text = member.part.read().decode().strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text or len(text) > 200:
        raise DataError(f"{member.part.path}, {member.name}: holds no label; write a number or a name")
    return text


def _with_labels(samples: list[_Sample], found: _Found) -> list[_Sample]:
    """Leave out images without a label if others have one."""
    without = [sample.name for sample in samples if sample.label is None]
    if not without or len(without) == len(samples):
        return samples
    found.problems.append(
        f"{counted(len(without), 'image has', 'images have')} no label, left out: {some(without)}"
    )
    return [sample for sample in samples if sample.label is not None]


def _labels(
    where: str, samples: list[_Sample], names: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Return the classes and the label of each sample; None if there are no labels."""
    texts = [sample.label for sample in samples if sample.label is not None]
    if not texts:
        return (), None
    if all(text.isascii() and text.isdecimal() and len(text) < 7 for text in texts):
        numbers = tuple(map(int, texts))
        classes = names or tuple(map(str, range(max(numbers) + 1)))
        for sample, number in zip(samples, numbers, strict=True):
            if number >= len(classes):
                raise DataError(
                    f"{where}, {sample.name}: label {number}, but {CLASS_NAMES} names {len(classes)} classes "
                    f"(0 to {len(classes) - 1})"
                )
        return classes, numbers
    classes = names or tuple(sorted(set(texts), key=natural_key))
    index = {name: label for label, name in enumerate(classes)}
    for sample, text in zip(samples, texts, strict=True):
        if text not in index:
            raise DataError(f"{where}, {sample.name}: {unknown('class', text, list(classes))}")
    return classes, tuple(index[text] for text in texts)


def _unique(samples: list[_Sample]) -> tuple[str, ...]:
    """Return the names of the samples, with their tar file if several have one name."""
    count = Counter(sample.name for sample in samples)
    return tuple(
        sample.name if count[sample.name] == 1 else f"{printable(sample.image.path.name)}/{sample.name}"
        for sample in samples
    )


def _beside(folder: Path, name: str) -> Path | None:
    """Return the file called `name` in the folder or in the one above it."""
    return next((path for path in (folder / name, folder.parent / name) if path.is_file()), None)


def _class_names(folder: Path) -> tuple[str, ...] | None:
    path = _beside(folder, CLASS_NAMES)
    if path is None:
        return None
    return tuple(line.strip() for line in read_text(path).splitlines() if line.strip())


def _templates(folder: Path, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    path = _beside(folder, TEMPLATES)
    if path is None:
        return None
    if names is None:
        raise DataError(
            f"{path}: has templates, but there is no {CLASS_NAMES} next to the tar files or one folder "
            f"above; add it, with one class name per line, or remove the templates"
        )
    return read_templates(path)


def _labelled(source: EncodedSource) -> EncodedSource:
    if source.labels is None:
        raise DataError(f"{source.where}: has templates, but its samples have no label (.{LABEL})")
    return source


def _so(found: _Found) -> str:
    return "".join(f"; {note}" for note in found.notes)
