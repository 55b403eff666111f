"""Images to be recognised by their class names: class folders, with files of class names and templates.

| file | content |
| --- | --- |
| `classes.txt` | one name per line, for the class folders in natural order; or lines `FOLDER: NAME` |
| `templates.txt` | one template per line, with `{}` (or `{c}`) where the name goes; may be missing |

A folder that holds `classes.txt` is read this way. Nothing is trained on it, so every image is a test image;
if the class folders lie in `test/` (or `val/`) next to `train/`, those of `test/` are read. `image_files`
says how a file is read; images then go through the steps of open_clip's own preprocessing, up to the pixels:
the shorter side is scaled to `size`, bicubic, and the middle cut out. A file that cannot be read is kept as
an image that no model recognises, and is named, so that n is the number of files.
"""

from __future__ import annotations

from pathlib import Path

from latentbench.data.errors import printable, some
from latentbench.data.reading.image_source import EncodedSource, Sources
from latentbench.data.sources.class_names import CLASSES, TEMPLATES, read_class_names, read_templates
from latentbench.data.sources.folder_listing import (
    Entries,
    class_images,
    entries,
    left_out_note,
    requested,
    split_folders,
)


def is_prompted(folder: Path) -> bool:
    """Return True if a folder contains a file with the names of its classes."""
    return (folder / CLASSES).is_file()


def prompted_sources(root: Path, *, split: str | None = None) -> Sources:
    """Return the test images of a zero-shot folder, reading none; `split` names the folder that they lie in.

    Raises `DataError` for an empty or ambiguous list of classes, a template without a place for the name,
    and a class folder without images.
    """
    found, notes = _class_folders(root, split)
    named = read_class_names(root / CLASSES, [folder.name for folder in found.folders])
    left_out = found.left_out | {image: printable(image.suffix.lower()) for image in found.images}
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(found.folders):
        images, others = class_images(folder, root)
        left_out |= others
        files += images
        labels += [label] * len(images)
    names = tuple(printable(file.relative_to(root).as_posix()) for file in files)
    return Sources(
        None,
        EncodedSource(str(root), names, tuple(files), tuple(labels), named.names),
        notes=named.notes + notes + left_out_note(left_out, root),
        templates=read_templates(root / TEMPLATES),
    )


def _class_folders(root: Path, split: str | None) -> tuple[Entries, tuple[str, ...]]:
    """Return the folder of the class folders, `root` or its `test` folder, and notes on the others."""
    found = entries(root)
    own = (root / CLASSES, root / TEMPLATES)
    left_out = {file: kind for file, kind in found.left_out.items() if file not in own}
    found = Entries(found.folders, found.images, left_out)
    splits = split_folders(found.folders)
    if split is not None:
        test: Path | None = requested(split, splits, str(root))
    else:
        test = splits.get("test", splits.get("validation"))
        if len(splits) < len(found.folders):
            test = None
    if test is None:
        return found, ()
    unused = [f"{folder.name}/" for folder in found.folders if folder != test]
    note = f"the images of {test.name}/ are read" + (f", not those of {some(unused)}" if unused else "")
    inner = entries(test)
    return Entries(inner.folders, inner.images, inner.left_out | found.left_out), (note,)
