"""The words for data whose labels are numbers in a table: the names of the classes, and templates.

| words | from |
| --- | --- |
| names | `classes.txt` in the data's folder, or else the names that the data give their labels |
| templates | `templates.txt` there, or else those published for the data set, or else “a photo of a {}.” |
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentbench.data.reading.prompted import DEFAULT_TEMPLATES
from latentbench.data.sources.class_names import (
    CLASSES,
    LABELS,
    TEMPLATES,
    checked_templates,
    read_class_names,
    read_templates,
)
from latentbench.data.sources.named_sets.published_sets import PUBLISHED, published_prompts
from latentbench.data.storage.files import read_text

NAMES_SHOWN = 3


@dataclass(frozen=True)
class LabelWords:
    """The names of labels, and templates for them: None, with the reason in `unnamed`, if they have no names.

    `notes` are for the user to check.
    """

    classes: tuple[str, ...]
    templates: tuple[str, ...] | None
    notes: tuple[str, ...]
    unnamed: str | None = None


def label_words(
    where: str, names: tuple[str, ...] | None, count: int, folder: Path | None, known_as: Iterable[str]
) -> LabelWords:
    """Return the words for labels from 0 to below `count`, called `where` in messages.

    `names` are the ones in the data, None for plain numbers; `folder` is where text files may lie, None for
    data of the hub; `known_as` are names that the data set has. Raises `DataError` for text files that do not
    fit the labels.
    """
    file = None if folder is None else folder / CLASSES
    notes: tuple[str, ...] = ()
    if file is not None and file.is_file():
        lines = [line for line in read_text(file).splitlines() if line.strip()]
        # Images may lack the last classes.
        numbers = tuple(map(str, range(len(names) if names else max(count, len(lines)))))
        by_number = all(":" in line and line.partition(":")[0].strip() in numbers for line in lines)
        named = read_class_names(file, numbers if names is None or by_number else names, LABELS)
        names, notes = named.names, named.notes
    if names is None:
        place = f"into {folder}" if folder else "into a folder to which you write the data with save_to_disk"
        reason = (
            f"{where} holds whole numbers without names; write {CLASSES} {place}, with one name per line for "
            f"the labels from 0 on, or make the column one of class labels"
        )
        return LabelWords(tuple(map(str, range(count))), None, (), reason)
    templates, note = _templates(folder, known_as, len(names))
    shown = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
    return LabelWords(names, templates, (*notes, f"{where} has the classes {shown}; {note}"))


def _templates(folder: Path | None, known_as: Iterable[str], classes: int) -> tuple[tuple[str, ...], str]:
    """Return the templates, and the part of a note that says where they are from."""
    if folder is not None and (folder / TEMPLATES).is_file():
        return read_templates(folder / TEMPLATES), f"templates are those of {TEMPLATES}"
    published = _published(known_as, classes)
    if published is not None:
        templates = checked_templates(published_prompts()[published].templates, published)
        return templates, f"templates are those published for {published}"
    return DEFAULT_TEMPLATES, f"the template is “{DEFAULT_TEMPLATES[0]}”"


def _published(known_as: Iterable[str], classes: int) -> str | None:
    """Return the published set with one of the names, written in any way, and as many classes."""
    wanted = {_letters(name) for name in known_as}
    for name, known in PUBLISHED.items():
        called = {_letters(name), _letters(known.folder.partition("/")[0])}
        if called & wanted and classes == (known.own_classes or len(published_prompts()[name].classes)):
            return name
    return None


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
