"""Images from Hugging Face `datasets`: a name on the hub, a folder from `save_to_disk`, or parquet files.

`hf:PATH` names data on this machine, and otherwise `hf:OWNER/NAME` a data set of the hub. Images are the
first column of images (`image` if there are several), labels the first column of class labels (`label`
if there are several) or whole numbers in a column called `label`. Splits are recognised by their names;
data in one split are split by a hash of each image's number. `label_words` says how classes get their names.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from latentbench.data.errors import DataError, counted, missing_package, some
from latentbench.data.hub import cache_unless_reachable, hub_host, is_reachable
from latentbench.data.reading.hash_split import mixed
from latentbench.data.reading.image_files import Encoded, read_as_datasets
from latentbench.data.reading.image_source import EncodedSource, Sources
from latentbench.data.registry import unknown
from latentbench.data.sources.folder_listing import canonical
from latentbench.data.sources.image_folder import ALL, hashed_sources
from latentbench.data.sources.label_words import LabelWords, label_words
from latentbench.data.storage.files import folder_at

IMAGE_NAMES, LABEL_NAMES = ("image", "img"), ("label", "labels")


class _Column:
    """The stored images of a data set's column, read one at a time."""

    def __init__(self, rows: Any, column: str) -> None:
        from datasets import Image

        self.rows = rows.select_columns([column]).cast_column(column, Image(decode=False))
        self.column = column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Encoded:
        stored = self.rows[index][self.column]
        if stored is None:
            return b""
        content, path = stored["bytes"], stored["path"]
        if content is not None:
            return bytes(content)
        return Path(path) if path else b""


def hub_sources(name: str, *, relative_to: Path = Path(), split: str | None = None) -> Sources:
    """Return the splits of a Hugging Face data set, as they are stored; no image is read.

    Raises `DataError` if the library is not installed, the data cannot be loaded, have no images, or have
    labels without a name.
    """
    where, path = f"hf:{name}", relative_to / Path(name).expanduser()
    parts = _splits(name, path)
    train, test = _chosen(where, parts, split)
    rows = {each: parts[each] for each in (train, test) if each is not None}
    columns = _columns(where, rows[test])
    if train is not None and _columns(where, rows[train]) != columns:
        raise DataError(f"{where}: the splits {train} and {test} have other columns or classes")
    stored = {each: tuple(part[columns.label][:]) if columns.label else None for each, part in rows.items()}
    labels = {each: _labels(f"{where}, {each}", given, columns) for each, given in stored.items()}
    words = _words(where, name, path, rows[test], columns, labels)
    sources = {
        each: EncodedSource(
            where=where,
            names=tuple(f"{each}/{number}" for number in range(len(part))),
            stored=_Column(part, columns.image),
            labels=labels[each],
            classes=words.classes,
        )
        for each, part in rows.items()
    }
    gaps = [note for each, given in stored.items() for note in _gaps_note(each, given or ())]
    notes = (*_unused_note(parts, rows, split), *columns.notes, *gaps, *words.notes)
    if train == test:
        found = hashed_sources(sources[test], split, notes)
    else:
        found = Sources(None if train is None else mixed(sources[train]), mixed(sources[test]), notes=notes)
    return replace(
        found,
        templates=words.templates,
        unnamed=words.unnamed,
        reader=partial(read_as_datasets, mode=columns.mode) if columns.mode else read_as_datasets,
        tested=ALL if train == test else test,
    )


def _chosen(where: str, parts: Mapping[str, Any], split: str | None) -> tuple[str | None, str]:
    """Return the split to train on, if any, and the one to measure; the same one if a hash divides it."""
    usual = {canonical(part): part for part in parts}
    first = next(iter(parts))
    if split is None and len(parts) == 1:
        return None if canonical(first) in ("test", "validation") else first, first
    if split is not None:
        chosen = split if split in parts else usual.get(canonical(split))
        made = [each for each in ("test", ALL) if len(parts) == 1 and each not in parts]
        if chosen is None and split in made:
            return first if split == "test" else None, first
        if chosen is None:
            raise DataError(f"{where}: {unknown('split', split, [*parts, *made])}")
        return None, chosen
    test = usual.get("test", usual.get("validation"))
    if test is None:
        raise DataError(
            f"{where}: no test split among {', '.join(parts)}; choose one, such as split: {list(parts)[-1]}"
        )
    return usual.get("train"), test


def _unused_note(parts: Iterable[str], read: Container[str], split: str | None) -> tuple[str, ...]:
    unused = [part for part in parts if part not in read]
    return (f"splits that are not read: {', '.join(unused)}",) if unused and split is None else ()


@dataclass(frozen=True)
class _Columns:
    """The columns that are read; `notes` name others that could be meant.

    `label` is None where there are no labels, and `names` are those of class labels, None for plain numbers.
    `mode` is Pillow's mode to which the data set converts its images, if it does.
    """

    image: str
    mode: str | None
    label: str | None
    names: tuple[str, ...] | None
    notes: tuple[str, ...]


def _columns(where: str, rows: Any) -> _Columns:
    from datasets import ClassLabel, Image

    images = [column for column, feature in rows.features.items() if isinstance(feature, Image)]
    if not images:
        raise DataError(f"{where}: no column of images among {', '.join(rows.column_names)}")
    image = _usual(IMAGE_NAMES, images)
    named = [column for column, feature in rows.features.items() if isinstance(feature, ClassLabel)]
    numbers = [
        column
        for column in LABEL_NAMES
        if column in rows.column_names and str(rows.features[column].dtype).startswith(("int", "uint"))
    ]
    labels = named or numbers
    label = _usual(LABEL_NAMES, labels) if labels else None
    return _Columns(
        image,
        rows.features[image].mode,
        label,
        tuple(rows.features[label].names) if named else None,
        (*_others_note("images", image, images), *(_others_note("labels", label, labels) if label else ())),
    )


def _usual(names: Sequence[str], columns: Sequence[str]) -> str:
    """Return the column with one of the usual names, or else the first."""
    return next((each for each in names if each in columns), columns[0])


def _others_note(what: str, column: str, columns: Sequence[str]) -> tuple[str, ...]:
    others = [each for each in columns if each != column]
    note = f"{what} are those of column {column!r}; other columns of {what} are not read: {', '.join(others)}"
    return (note,) if others else ()


def _labels(where: str, labels: tuple[int, ...] | None, columns: _Columns) -> tuple[int, ...] | None:
    """Return the labels of a column, None if there are none or some are missing."""
    if labels is None:
        return None
    if any(map(_is_missing, labels)):
        if columns.names is None:
            raise DataError(f"{where}: labels must be whole numbers from 0, without gaps")
        return None
    if columns.names is not None and max(labels) >= len(columns.names):
        number = next(index for index, label in enumerate(labels) if label >= len(columns.names))
        raise DataError(
            f"{where}/{number}: label {labels[number]}, but column {columns.label!r} names "
            f"{len(columns.names)} classes (0 to {len(columns.names) - 1}); correct the labels or the names"
        )
    return labels


def _is_missing(label: int | None) -> bool:
    return label is None or label < 0  # test splits of the hub without labels hold −1


def _gaps_note(split: str, labels: Iterable[int]) -> tuple[str, ...]:
    """Name the images without a label, if others have one."""
    missing = list(map(_is_missing, labels))
    if all(missing) or not any(missing):
        return ()
    names = [f"{split}/{number}" for number, each in enumerate(missing) if each]
    without = counted(len(names), "image has", "images have")
    return (f"labels of {split} are not read, because {without} none: {some(names)}",)


def _words(
    where: str,
    name: str,
    path: Path,
    rows: Any,
    columns: _Columns,
    labels: Mapping[str, tuple[int, ...] | None],
) -> LabelWords:
    """Return the words for the labels of the splits, none if they have no labels."""
    known = [each for each in labels.values() if each is not None]
    if not known:
        return LabelWords((), None, ())
    if len(known) < len(labels):
        without = next(split for split, each in labels.items() if each is None)
        with_ = next(split for split, each in labels.items() if each is not None)
        raise DataError(
            f"{where}: the split {without} lacks labels, and {with_} has them; choose one: split: {with_}"
        )
    folder = path if path.is_dir() else path.parent if path.is_file() else None
    return label_words(
        f"{where}: column {columns.label!r}",
        columns.names,
        1 + max(map(max, known)),
        folder,
        (PurePosixPath(name).name, rows.info.dataset_name or ""),
    )


def _splits(name: str, path: Path) -> dict[str, Any]:
    """Return the data set's splits by name: of a place on this machine, or else of the hub."""
    try:
        import datasets
    except ImportError:
        raise DataError(missing_package(f"hf:{name}", "datasets", "datasets")) from None
    bars = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        loaded = _loaded(datasets, name, path)
    except DataError:
        raise
    except Exception as error:  # the library raises the errors of its parsers and downloads
        reason = " ".join(str(error).split())[:200]
        if path.exists():
            place = str(path)
        elif is_reachable(host := hub_host()):
            place = f"neither at {path} nor on the hub"
        else:
            raise DataError(
                f"hf:{name}: neither at {path} nor in the library's cache, and {host} cannot be reached; "
                "load it once where there is a network, or give a folder from save_to_disk"
            ) from None
        raise DataError(f"hf:{name}: cannot be loaded ({place}; {type(error).__name__}: {reason})") from error
    finally:
        if bars:
            datasets.enable_progress_bars()
    parts = loaded if isinstance(loaded, datasets.DatasetDict) else {loaded.split or "all": loaded}
    found = {str(part): rows for part, rows in parts.items() if len(rows)}
    if not found:
        raise DataError(f"hf:{name}: no images; all of its splits are empty")
    return found


def _loaded(datasets: Any, name: str, path: Path) -> Any:
    if path.is_file():
        return _parquet(datasets, {path.stem.split("-")[0]: [path]})
    if not path.is_dir():
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            folder_at(name, relative_to=path.parent if Path(name).is_absolute() else Path())
        with cache_unless_reachable():
            return datasets.load_dataset(name)
    if any((path / mark).is_file() for mark in ("dataset_dict.json", "state.json")):
        return datasets.load_from_disk(str(path))
    files = sorted(path.rglob("*.parquet"))
    if not files:
        raise DataError(f"{path}: contains neither a data set written by save_to_disk nor parquet files")
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file, path), []).append(file)
    return _parquet(datasets, splits)


def _split_of(file: Path, root: Path) -> str:
    """Return the split of a parquet file, by its name (`train-00000-of-00002.parquet`) or its folder's."""
    own = file.stem.split("-")[0]
    if canonical(own) in ("train", "test", "validation") or file.parent == root:
        return own
    return file.parent.name


def _parquet(datasets: Any, files: dict[str, list[Path]]) -> Any:
    return datasets.DatasetDict(
        {
            split: datasets.Dataset.from_parquet(
                [str(path) for path in paths], split=datasets.NamedSplit(split)
            )
            for split, paths in files.items()
        }
    )
