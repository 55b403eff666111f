"""The text files of zero-shot data: `classes.txt` names the classes, and `templates.txt` holds prompts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentbench.data.errors import DataError, counted, printable, some
from latentbench.data.reading.prompted import DEFAULT_TEMPLATES
from latentbench.data.storage.files import read_text

CLASSES, TEMPLATES = "classes.txt", "templates.txt"
PAIRS_SHOWN = 12


@dataclass(frozen=True)
class Named:
    """What the lines of `classes.txt` name, in messages."""

    noun: str
    short: str
    key: str
    order: str


FOLDERS = Named("class folder", "folder", "FOLDER", "in natural order (2 before 10)")
LABELS = Named("label", "label", "LABEL", "in the order of the labels")


@dataclass(frozen=True)
class ClassNames:
    """The name of each class, in their order; `notes` are for the user to check."""

    names: tuple[str, ...]
    notes: tuple[str, ...]


def read_class_names(path: Path, folders: Sequence[str], what: Named = FOLDERS) -> ClassNames:
    """Read the names of class folders: lines `FOLDER: NAME`, or one name per line in the folders' order.

    One line that begins with a class folder's name and a colon makes the file one of `FOLDER: NAME` lines.
    Labels of other data are named in the same way.

    Raises `DataError` for a line that names no folder, a folder without a line, two lines for one, another
    number of names than of folders, and the folders' own names in another order. Two classes may have one
    name.
    """
    lines = _lines(path)
    if not lines:
        raise DataError(f"{path}: no classes; write one name per line, {what.order}")
    if not folders:
        raise DataError(f"{path.parent}: no class folders next to {CLASSES}; put each class's images in one")
    if _by_folder(lines, folders):
        names = _names_by_folder(path, lines, folders, what)
        return ClassNames(names, _twins_note(names))
    if len(lines) != len(folders):
        raise DataError(
            f"{path}: {len(lines)} names for {len(folders)} {what.noun}s ({', '.join(folders[:3])}, …); "
            f"give one per {what.short}, {what.order}, or lines such as {folders[0]}: NAME"
        )
    _refuse_other_order(path, lines, folders, what)
    return ClassNames(tuple(lines), (_pairing_note(lines, folders, what), *_twins_note(lines)))


def read_templates(path: Path) -> tuple[str, ...]:
    """Return the templates of a file, “a photo of a {}.” if there is none. Raises `DataError`."""
    return checked_templates(_lines(path), str(path)) if path.is_file() else DEFAULT_TEMPLATES


def checked_templates(templates: Sequence[str], where: str) -> tuple[str, ...]:
    """Return templates with `{}` for the name. Raises `DataError` for one without it, and for none at all."""
    if not templates:
        raise DataError(f"{where}: no templates; write one per line, with {{}} where the class's name goes")
    for number, template in enumerate(templates, 1):
        if len(re.findall(r"\{c?\}", template)) != 1 or re.search(r"[{}]", re.sub(r"\{c?\}", "", template)):
            raise DataError(
                f"{where}, line {number}: {template!r} needs exactly one {{}} (or {{c}}), where the class's "
                f"name goes"
            )
    return tuple(template.replace("{c}", "{}") for template in templates)


def prompts_of(names: Sequence[str], templates: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Put every class's name into every template: one tuple of texts per template.

    Raises `DataError` for an empty name, for no name at all, and for a template without `{}`.

    >>> prompts_of(("cat", "dog"), ("a {}.",))
    (('a cat.', 'a dog.'),)
    """
    if not names:
        raise DataError("no classes: give the name of each")
    if not all(name.strip() for name in names):
        raise DataError(f"a class has no name; the names are {tuple(names)}")
    return tuple(
        tuple(template.replace("{}", name) for name in names)
        for template in checked_templates(templates, "templates")
    )


def _lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def _split(line: str) -> tuple[str, str, str]:
    folder, colon, name = line.partition(":")
    return folder.strip(), colon, name.strip()


def _by_folder(lines: Sequence[str], folders: Sequence[str]) -> bool:
    """Return True if the lines are meant as `FOLDER: NAME`; a name may contain a colon itself."""
    given = [folder for folder, colon, _ in map(_split, lines) if colon]
    if set(given) & set(folders):
        return True
    return len(given) == len(lines) and all(_closest(folder, folders) for folder in given)


def _closest(folder: str, folders: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in folders}
    found = difflib.get_close_matches(folder.lower(), lower, n=1)
    return lower[found[0]] if found else None


def _names_by_folder(
    path: Path, lines: Sequence[str], folders: Sequence[str], what: Named
) -> tuple[str, ...]:
    named: dict[str, str] = {}
    for line in lines:
        folder, colon, name = _split(line)
        if folder not in folders:
            close = _closest(folder, folders)
            hint = f"did you mean {close!r}? " if close else ""
            problem = f"no {what.noun} is called {folder!r}" if colon else f"{line!r} names no {what.short}"
            raise DataError(
                f"{path}: {problem}; {hint}Every line is {what.key}: NAME here; {what.short}s: "
                f"{some(folders)}"
            )
        if folder in named:
            raise DataError(
                f"{path}: the {what.short} {folder!r} is named twice; give each {what.short} one line"
            )
        named[folder] = name
    if missing := [folder for folder in folders if not named.get(folder)]:
        raise DataError(f"{path}: no name for the {what.noun} {missing[0]!r}")
    return tuple(named[folder] for folder in folders)


def _refuse_other_order(path: Path, names: Sequence[str], folders: Sequence[str], what: Named) -> None:
    """Raise `DataError` for names that are those of the folders, but for case and underscores, reordered."""
    given, expected = (
        [re.sub(r"[\W_]+", " ", name).casefold() for name in each] for each in (names, folders)
    )
    if given == expected or sorted(given) != sorted(expected):
        return
    number = next(i for i, (a, b) in enumerate(zip(given, expected, strict=True)) if a != b)
    raise DataError(
        f"{path}: the names are those of the {what.noun}s in another order: name {number + 1} is "
        f"{names[number]!r}, and the {what.short} is {folders[number]!r}; write them {what.order}, or lines "
        f"such as {folders[number]}: NAME"
    )


def _pairing_note(names: Sequence[str], folders: Sequence[str], what: Named) -> str:
    """Name each folder's class if only the order of the lines decides it."""
    pairs = [f"{printable(folder)} = {name}" for folder, name in zip(folders, names, strict=True)]
    shown = pairs if len(pairs) <= PAIRS_SHOWN else [*pairs[: PAIRS_SHOWN - 1], "…", pairs[-1]]
    return f"{CLASSES} names the {what.noun}s {what.order}: {', '.join(shown)}"


def _twins_note(names: Sequence[str]) -> tuple[str, ...]:
    twins = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if not twins:
        return ()
    names_are = counted(len(twins), "name is", "names are")
    return (
        f"{names_are} shared by several classes ({some(twins)}); accuracies count classes, not names: of "
        f"classes with one name the first is taken",
    )
