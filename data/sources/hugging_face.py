"""Images from Hugging Face `datasets`: a name on the hub, a folder from `save_to_disk`, or parquet files.

`hf:PATH` names data on this machine, and otherwise `hf:OWNER/NAME` a data set of the hub. Images are the
first column of images (`image` if there are several), labels the first column of class labels (`label`
if there are several) or whole numbers in a column called `label`. Splits are recognised by their names;
data in one split are split by a hash of each image's number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentbench.data.errors import DataError, missing_package
from latentbench.data.hub import cache_unless_reachable, hub_host, is_reachable
from latentbench.data.reading.hash_split import mixed
from latentbench.data.reading.image_files import Encoded
from latentbench.data.reading.image_source import EncodedSource, Sources
from latentbench.data.registry import unknown
from latentbench.data.sources.folder_listing import canonical
from latentbench.data.sources.image_folder import ALL, hashed_sources
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

    Raises `DataError` if the library is not installed, the data cannot be loaded, or have no images.
    """
    parts = _splits(name, relative_to)
    usual = {canonical(part): part for part in parts}
    if split is not None:
        chosen = split if split in parts else usual.get(canonical(split))
        if split == ALL and len(parts) == 1:
            (chosen,) = parts
        if chosen is None:
            known = [*parts, ALL] if len(parts) == 1 else list(parts)
            raise DataError(f"hf:{name}: {unknown('split', split, known)}")
        return Sources(None, mixed(_source(name, chosen, parts[chosen])))
    if len(parts) == 1:
        (only,) = parts
        if canonical(only) in ("test", "validation"):
            return Sources(None, mixed(_source(name, only, parts[only])))
        return hashed_sources(_source(name, only, parts[only]), None, ())
    train = usual.get("train")
    test = usual.get("test", usual.get("validation"))
    if test is None:
        raise DataError(
            f"hf:{name}: no test split among {', '.join(parts)}; choose one, such as split: {only_of(parts)}"
        )
    test_source = mixed(_source(name, test, parts[test]))
    unused = [part for part in parts if part not in (train, test)]
    notes = (f"splits that are not read: {', '.join(unused)}",) if unused else ()
    if train is None:
        return Sources(None, test_source, notes=notes)
    train_source = mixed(_source(name, train, parts[train]))
    if train_source.classes != test_source.classes:
        raise DataError(f"hf:{name}: the splits {train} and {test} have other classes")
    return Sources(train_source, test_source, notes=notes)


def only_of(parts: dict[str, Any]) -> str:
    """Return the name of the last split, as an example."""
    return list(parts)[-1]


def _splits(name: str, relative_to: Path) -> dict[str, Any]:
    """Return the data set's splits by name."""
    try:
        import datasets
    except ImportError:
        raise DataError(missing_package(f"hf:{name}", "datasets", "datasets")) from None
    path = relative_to / Path(name).expanduser()
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
    if isinstance(loaded, datasets.DatasetDict):
        return {str(part): rows for part, rows in loaded.items() if len(rows)}
    return {str(loaded.split or "all"): loaded}


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


def _source(name: str, split: str, rows: Any) -> EncodedSource:
    from datasets import Image

    images = [column for column, feature in rows.features.items() if isinstance(feature, Image)]
    if not images:
        raise DataError(f"hf:{name}, {split}: no column of images among {', '.join(rows.column_names)}")
    column = next((each for each in IMAGE_NAMES if each in images), images[0])
    classes, labels = _labels(name, split, rows)
    return EncodedSource(
        where=f"hf:{name}",
        names=tuple(f"{split}/{number}" for number in range(len(rows))),
        stored=_Column(rows, column),
        labels=labels,
        classes=classes,
    )


def _labels(name: str, split: str, rows: Any) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    from datasets import ClassLabel

    named = [column for column, feature in rows.features.items() if isinstance(feature, ClassLabel)]
    if named:
        column = next((each for each in LABEL_NAMES if each in named), named[0])
        labels = rows[column][:]
        if any(label is None or label < 0 for label in labels):
            # The hub's test splits without labels hold -1.
            return (), None
        return tuple(rows.features[column].names), tuple(labels)
    column = next((each for each in LABEL_NAMES if each in rows.column_names), "")
    if not column or not str(rows.features[column].dtype).startswith(("int", "uint")):
        return (), None
    labels = tuple(rows[column][:])
    if any(label is None or label < 0 for label in labels):
        raise DataError(f"hf:{name}, {split}: labels must be whole numbers from 0, without gaps")
    return tuple(map(str, range(max(labels) + 1))), labels
