"""Decoding of a source's images by a pool of processes, batch by batch and in order."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache

import joblib
import numpy as np
from joblib.externals.loky.process_executor import ProcessPoolExecutor
from numpy.typing import NDArray
from PIL import Image

from latentbench.data.errors import DataError
from latentbench.data.reading.image_files import Encoded, Reader, read_image
from latentbench.data.reading.image_source import EncodedSource, ImageSource
from latentbench.data.reading.transform import ImageTransform
from latentbench.data.storage.files import reserved_file

BATCH = 16
TRIAL_IMAGES, TRIAL_SECONDS = 32, 0.2
"""This process decodes so many images, or for so long, before a pool may be started."""
WORTH_A_POOL = 2.0
"""A pool is started if this process would need at least so many seconds for the other images."""
AHEAD = 3
"""Batches per process that are being decoded or wait to be used, so that memory stays bounded."""

Pixels = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]
"""Called with the name of the activity, the number of images done, and the total."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images in order, `[n, 3, H, W]`, and bool `[n]` of each; unreadable ones are black.

    The pixels are overwritten after the next batch was requested: copy what you keep.
    """

    pixels: Pixels
    readable: NDArray[np.bool_]
    animated: NDArray[np.bool_]
    """The file has several frames, of which the first was read."""
    enlarged: NDArray[np.bool_]
    """A side of the original is shorter than that of the pixels."""
    grey: bool
    """The three channels are equal everywhere."""


def decode(
    source: ImageSource,
    transform: ImageTransform,
    *,
    jobs: int | None = None,
    reader: Reader = read_image,
) -> Iterator[Batch]:
    """Read every image of a source with `reader`, scaled by `transform`, in batches and in order.

    The first images are read in this process. If the others would take it long, `jobs` processes read them,
    by default one per core. Raises `DataError` if such a process dies, for example because memory runs out.
    """
    batches = (range(start, min(start + BATCH, len(source))) for start in range(0, len(source), BATCH))
    if not isinstance(source, EncodedSource):
        for batch in batches:
            pixels = np.empty((len(batch), 3, *transform.shape), np.uint8)
            yield _batch(map(source.open, batch), transform, pixels)
        return
    tasks = ([source.stored[index] for index in batch] for batch in batches)
    done, seconds = 0, 0.0
    for task in tasks:
        began = time.perf_counter()
        decoded = decode_batch(task, transform, reader)
        seconds += time.perf_counter() - began
        done += len(task)
        yield decoded
        if done >= TRIAL_IMAGES or seconds >= TRIAL_SECONDS:
            break
    jobs, remaining = jobs or int(joblib.cpu_count()), len(source) - done
    worth_a_pool = jobs > 1 and remaining > 0 and remaining * seconds / done >= WORTH_A_POOL
    shape = jobs * AHEAD if worth_a_pool else 0, BATCH, 3, *transform.shape
    with reserved_file(math.prod(shape)) as file:
        if file is None:
            yield from (decode_batch(task, transform, reader) for task in tasks)
        else:
            yield from _pooled(tasks, transform, reader, jobs, SharedRoom(file.name, shape), source.where)


def decode_batch(
    stored: Sequence[Encoded], transform: ImageTransform, reader: Reader, pixels: Pixels | None = None
) -> Batch:
    """Read some images; `pixels` is where theirs are written to, if there is such a place."""
    if pixels is None:
        pixels = np.empty((len(stored), 3, *transform.shape), np.uint8)
    return _batch((_read(each, reader) for each in stored), transform, pixels)


def _read(stored: Encoded, reader: Reader) -> Image.Image | None:
    try:
        return reader(stored)
    except DataError:
        return None


@dataclass(frozen=True)
class SharedRoom:
    """A file for pixels that processes map into their memory, because sending pixels would take longer."""

    path: str
    shape: tuple[int, int, int, int, int]
    """The number of batches, and the shape of the largest: `[K, n, 3, H, W]`."""

    def mapped(self) -> Pixels:
        """Map the file."""
        return np.memmap(self.path, np.uint8, "r+", shape=self.shape)


def decode_into(
    room: SharedRoom, place: int, stored: Sequence[Encoded], transform: ImageTransform, reader: Reader
) -> Batch:
    """Read some images in a process of the pool, and write their pixels to a place in the shared file."""
    batch = decode_batch(stored, transform, reader, _mapped_once(room)[place, : len(stored)])
    return replace(batch, pixels=np.empty(0, np.uint8))


@cache
def _mapped_once(room: SharedRoom) -> Pixels:
    return room.mapped()


def _batch(images: Iterable[Image.Image | None], transform: ImageTransform, pixels: Pixels) -> Batch:
    """Scale images one by one, each while it is still in the processor's cache, and write their pixels."""
    flags = np.zeros((3, len(pixels)), bool)
    for index, image in enumerate(images):
        if image is None:
            pixels[index] = 0
            continue
        pixels[index] = np.asarray(transform(image)).transpose(2, 0, 1)
        small = min(image.size) < max(transform.shape)
        flags[:, index] = True, bool(image.info.get("frames_dropped")), small
    readable, animated, enlarged = flags
    # A few rows of pixels tell nearly every colour image.
    few = pixels[..., :: max(1, pixels.shape[2] // 4), :]
    return Batch(pixels, readable, animated, enlarged, grey=_is_grey(few) and _is_grey(pixels))


def _is_grey(pixels: Pixels) -> bool:
    red, green, blue = pixels.swapaxes(0, 1)
    return np.array_equal(red, green) and np.array_equal(green, blue)


def _pooled(
    tasks: Iterator[list[Encoded]],
    transform: ImageTransform,
    reader: Reader,
    jobs: int,
    room: SharedRoom,
    where: str,
) -> Iterator[Batch]:
    # loky's processes do not import the main module again, so a script needs no `if __name__` guard.
    pool = ProcessPoolExecutor(jobs, initializer=_prepare, initargs=(transform,))
    places, pixels = room.shape[0], room.mapped()
    waiting: deque[tuple[int, Future[Batch]]] = deque()

    def oldest() -> Batch:
        place, future = waiting.popleft()
        batch = future.result()
        return replace(batch, pixels=pixels[place, : len(batch.readable)])

    try:
        ready = pool.submit(os.getpid)
        # A transform of a CLIP model makes its processes load torch, which takes seconds.
        while not ready.done() and (task := next(tasks, None)):
            yield decode_batch(task, transform, reader)
        for number, task in enumerate(tasks):
            if len(waiting) == places:
                yield oldest()
            place = number % places
            waiting.append((place, pool.submit(decode_into, room, place, task, transform, reader)))
        while waiting:
            yield oldest()
    except BrokenProcessPool:
        raise DataError(
            f"{where}: a process that decodes images was ended, as happens when memory runs out; free some "
            f"memory, or remove very large images"
        ) from None
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _prepare(transform: ImageTransform) -> None:
    """Leave interrupts to the parent, and load the libraries that the transform needs by using it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    transform(Image.new("RGB", (1, 1)))
