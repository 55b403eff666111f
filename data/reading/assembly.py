"""Turns the sources of the splits into `ImageData`: decoded, cached, counted, and with notes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch

from latentbench.data.errors import DataError, LatentbenchError, counted, some
from latentbench.data.images import ImageData, Split
from latentbench.data.reading import pixel_file
from latentbench.data.reading.decoding import BATCH, Batch, Pixels, Progress, decode
from latentbench.data.reading.image_source import ImageSource, Sources, fingerprint
from latentbench.data.reading.pixel_file import Key, Report, mapped_split
from latentbench.data.reading.prompted import PairedImageData, PromptedImageData
from latentbench.data.reading.transform import Transform

BUDGET_VARIABLE = "LATENTBENCH_IMAGE_MEMORY_GB"
DEFAULT_BUDGET_GB = 1.0
NO_PIXELS: Pixels = np.empty(0, np.uint8)


def read(
    sources: Sources,
    transform: Transform,
    name: str,
    *,
    mapped: bool = False,
    progress: Progress | None = None,
) -> ImageData:
    """Decode the sources' images into data called `name`.

    Above a budget of memory, or if `mapped`, the pixels are a file of the cache, which is used again by
    every process that requests the same images. An image that cannot be read is left out and named in the
    notes; if nothing is trained, an image that comes with its class's name to be recognised by, or with pairs
    of captions, stays, black, so that n is the number of files.
    Raises `DataError` if no image of a split can be read.
    """
    watch = progress or _silent
    reader = _Reader(sources, transform, watch)
    total = sum(map(len, sources.parts))
    size_bytes = total * 3 * transform.size**2
    if mapped or size_bytes > budget_bytes():
        splits, report, notes = _mapped(reader, name, size_bytes)
    else:
        splits, report = _in_memory(reader)
        notes = ()
    notes = sources.notes + notes + _notes(sources, report)
    train, test = splits[0], splits[-1]
    if not sources.complete:
        return ImageData(name, train, test, sources.test.classes, notes=notes, unnamed=sources.unnamed)
    missed = report.unreadable[-1] if sources.keeps_unreadable else ()
    readable = torch.ones(len(test), dtype=torch.bool)
    readable[list(missed)] = False
    unreadable = tuple(sources.test.names[index] for index in missed)
    originals = sources.test if sources.keeps_unreadable else _readable(sources.test, report.unreadable[-1])
    found = (name, train, test, sources.test.classes, readable, unreadable)
    if sources.templates is None:
        names = set(sources.test.names)
        pairs = tuple(each.among(names) for each in sources.pairs)
        return PairedImageData(*found, pairs, originals=originals, reader=sources.reader, notes=notes)
    return PromptedImageData(
        *found, sources.templates, originals=originals, reader=sources.reader, notes=notes
    )


def budget_bytes() -> float:
    """Return the bytes of pixels that may stay in memory. Raises LatentbenchError for a bad setting."""
    given = os.environ.get(BUDGET_VARIABLE, str(DEFAULT_BUDGET_GB))
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = -1.0
    if not gigabytes >= 0:
        raise LatentbenchError(f"{BUDGET_VARIABLE}={given}: must be a number of gigabytes, 0 or more")
    return gigabytes * 1e9


class _Reader:
    """Decodes the parts of sources one after the other, and counts."""

    def __init__(self, sources: Sources, transform: Transform, progress: Progress) -> None:
        self.sources, self.transform, self.progress = sources, transform, progress
        self.keeps_unreadable = sources.keeps_unreadable
        self.grey = True
        self.kept: list[int] = []
        self.marks: dict[str, list[tuple[int, ...]]] = {"unreadable": [], "animated": [], "enlarged": []}

    def blocks(self) -> Iterator[Pixels]:
        """Yield the pixels of all parts, `[n, 3, size, size]` at a time, without images left out."""
        done, total = 0, sum(map(len, self.sources.parts))
        for part in self.sources.parts:
            batches: list[Batch] = []
            kept = 0
            self.progress("decoding images", done, total)
            for batch in decode(part, self.transform):
                whole = self.keeps_unreadable or batch.readable.all()
                rows = batch.pixels if whole else batch.pixels[batch.readable]
                self.grey = self.grey and batch.grey
                kept += len(rows)
                batches.append(replace(batch, pixels=NO_PIXELS))
                yield rows
                done += len(batch.readable)
                self.progress("decoding images", done, total)
            self.kept.append(kept)
            self._mark(batches)
            if not any(batch.readable.any() for batch in batches):
                raise DataError(self._nothing_readable(len(part)))

    def report(self) -> Report:
        """Return the counts."""
        marks = {name: tuple(indices) for name, indices in self.marks.items()}
        return Report(kept=tuple(self.kept), grey=self.grey and not self.keeps_unreadable, **marks)

    def _mark(self, batches: list[Batch]) -> None:
        readable, animated, enlarged = (
            np.concatenate([getattr(batch, name) for batch in batches])
            for name in ("readable", "animated", "enlarged")
        )
        for name, flags in (("unreadable", ~readable), ("animated", animated), ("enlarged", enlarged)):
            self.marks[name].append(tuple(np.flatnonzero(flags).tolist()))

    def _nothing_readable(self, count: int) -> str:
        part = self.sources.parts[len(self.kept) - 1]
        where = getattr(part, "where", "images")
        return f"{where}: no image can be read ({count} files tried, such as {some(part.names[:3])})"


def _in_memory(reader: _Reader) -> tuple[list[Split], Report]:
    side, filled = reader.transform.size, 0
    pixels = np.empty((sum(map(len, reader.sources.parts)), 3, side, side), np.uint8)
    for block in reader.blocks():
        pixels[filled : filled + len(block)] = block
        filled += len(block)
    report = reader.report()
    rows = torch.from_numpy(pixels[:filled, :1].copy() if report.grey else pixels[:filled])
    starts = np.cumsum([0, *report.kept]).tolist()
    return [
        Split(rows[start : start + count], None if labels is None else torch.tensor(labels))
        for start, count, labels in zip(starts, report.kept, _labels(reader.sources, report), strict=False)
    ], report


def _mapped(reader: _Reader, name: str, size_bytes: int) -> tuple[list[Split], Report, tuple[str, ...]]:
    sources = reader.sources
    images = hashlib.sha256("\0".join(_fingerprints(reader)).encode()).hexdigest()
    key = Key(images=images, keeps_unreadable=reader.keeps_unreadable, **asdict(reader.transform))
    card, problem = pixel_file.find(key, reader.progress)
    if card is None:
        card = pixel_file.write(key, name, reader.blocks(), reader.report, size_bytes)
    starts = np.cumsum([0, *card.report.kept]).tolist()
    splits: list[Split] = [
        mapped_split(key.path, card.shape, start, count, None if labels is None else list(labels))
        for start, count, labels in zip(starts, card.report.kept, _labels(sources, card.report), strict=False)
    ]
    return splits, card.report, (problem,) if problem else ()


def _fingerprints(reader: _Reader) -> Iterator[str]:
    """Yield the fingerprint of each part, and show how many images are hashed."""
    parts = reader.sources.parts
    done, total = 0, sum(map(len, parts))

    def shown(contents: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal done
        for content in contents:
            if done % BATCH == 0:
                reader.progress("hashing images", done, total)
            done += 1
            yield content

    for part in parts:
        yield fingerprint(part, shown(part.contents()))
    reader.progress("hashing images", total, total)


def _labels(sources: Sources, report: Report) -> Iterator[tuple[int, ...] | None]:
    """Yield the labels of the rows of each part."""
    for part, left_out in zip(sources.parts, map(set, report.unreadable), strict=True):
        if part.labels is None or sources.keeps_unreadable:
            yield part.labels
        else:
            yield tuple(label for index, label in enumerate(part.labels) if index not in left_out)


def _readable(source: ImageSource, unreadable: Sequence[int]) -> ImageSource:
    return source.take(sorted(set(range(len(source))) - set(unreadable))) if unreadable else source


def _notes(sources: Sources, report: Report) -> tuple[str, ...]:
    total = sum(map(len, sources.parts))
    fate = "counted as misses" if sources.keeps_unreadable else "left out"
    told = (
        (report.animated, "{file_has} several frames, of which the first is read"),
        (report.enlarged, "{image_has} a side shorter than the requested size, and had to be enlarged"),
        (report.unreadable, f"{{count}} of {total} files cannot be read as images, {fate}"),
    )
    notes = []
    for marks, sentence in told:
        names = [
            part.names[index] for part, indices in zip(sources.parts, marks, strict=True) for index in indices
        ]
        if names:
            count = len(names)
            words = {"file_has": counted(count, "file has", "files have")}
            words["image_has"] = counted(count, "image has", "images have")
            notes.append(f"{sentence.format(count=count, **words)}: {some(names)}")
    return tuple(notes)


def _silent(what: str, done: int, total: int) -> None:
    """Show nothing."""
