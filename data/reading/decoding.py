"""Decoding of a source's images by a pool of processes, batch by batch and in order."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import joblib
import numpy as np
from joblib.externals.loky.process_executor import ProcessPoolExecutor
from numpy.typing import NDArray
from PIL import Image

from latentbench.data.errors import DataError
from latentbench.data.reading.image_files import Encoded, read_image
from latentbench.data.reading.image_source import EncodedSource, ImageSource
from latentbench.data.reading.transform import ImageTransform

BATCH = 16
FEW = 64
"""So few images are decoded in this process, because starting a pool would take longer."""
AHEAD = 3
"""Batches per process that are being decoded or wait to be used, so that memory stays bounded."""

Pixels = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]
"""Called with the name of the activity, the number of images done, and the total."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images in order, `[n, 3, H, W]`, and bool `[n]` of each; unreadable ones are black."""

    pixels: Pixels
    readable: NDArray[np.bool_]
    animated: NDArray[np.bool_]
    """The file has several frames, of which the first was read."""
    enlarged: NDArray[np.bool_]
    """A side of the original is shorter than that of the pixels."""
    grey: bool
    """The three channels are equal everywhere."""


def decode(source: ImageSource, transform: ImageTransform, *, jobs: int | None = None) -> Iterator[Batch]:
    """Read every image of a source, scaled by `transform`, in batches and in order.

    The work is done by `jobs` processes, by default one per core, and in this process for few images.
    Raises `DataError` if such a process dies, for example because memory runs out.
    """
    jobs = jobs or int(joblib.cpu_count())
    batches = (range(start, min(start + BATCH, len(source))) for start in range(0, len(source), BATCH))
    if not isinstance(source, EncodedSource):
        yield from (_batch([source.open(index) for index in batch], transform) for batch in batches)
        return
    tasks = ([source.stored[index] for index in batch] for batch in batches)
    if jobs == 1 or len(source) <= FEW:
        yield from (decode_batch(task, transform) for task in tasks)
        return
    yield from _pooled(tasks, transform, jobs, source.where)


def decode_batch(stored: Sequence[Encoded], transform: ImageTransform) -> Batch:
    """Read some images, in a process of the pool."""
    images: list[Image.Image | None] = []
    for each in stored:
        try:
            images.append(read_image(each, name="image"))
        except DataError:
            images.append(None)
    return _batch(images, transform)


def _batch(images: Sequence[Image.Image | None], transform: ImageTransform) -> Batch:
    height, width = transform.shape
    pixels = np.zeros((len(images), 3, height, width), np.uint8)
    for row, image in zip(pixels, images, strict=True):
        if image is not None:
            row[:] = np.asarray(transform(image)).transpose(2, 0, 1)
    return Batch(
        pixels,
        readable=np.array([image is not None for image in images], bool),
        animated=np.array([bool(image and image.info.get("frames_dropped")) for image in images], bool),
        enlarged=np.array(
            [image is not None and min(image.size) < max(transform.shape) for image in images], bool
        ),
        # A few rows of pixels tell nearly every colour image.
        grey=_is_grey(pixels[..., :: max(1, height // 4), :]) and _is_grey(pixels),
    )


def _is_grey(pixels: Pixels) -> bool:
    red, green, blue = pixels.swapaxes(0, 1)
    return np.array_equal(red, green) and np.array_equal(green, blue)


def _pooled(
    tasks: Iterator[list[Encoded]], transform: ImageTransform, jobs: int, where: str
) -> Iterator[Batch]:
    # loky's processes do not import the main module again, so a script needs no `if __name__` guard.
    pool = ProcessPoolExecutor(jobs, initializer=_leave_interrupts_to_the_parent)
    waiting: deque[Future[Batch]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(decode_batch, task, transform))
            if len(waiting) >= jobs * AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            f"{where}: a process that decodes images was ended, as happens when memory runs out; free some "
            f"memory, or remove very large images"
        ) from None
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
