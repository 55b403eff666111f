"""Speed of decoding JPEG files from a folder, next to what the same pool of processes does with Pillow alone.

    python -m latentbench.bench.studies.decoding_speed /usr/share/backgrounds/mate/nature

cuts photographs into JPEG files and reads them, in turn, by latentbench (the whole way to an array in memory)
and by a bare loop over Pillow in an equal pool, which opens, converts, scales and cuts each file and drops
the pixels. Both numbers include the start of the pool. The ratio should be at least 0.8.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import joblib
from joblib.externals.loky.process_executor import ProcessPoolExecutor
from PIL import Image

from latentbench.data.loading import load
from latentbench.data.reading.decoding import AHEAD, BATCH
from latentbench.data.reading.image_files import is_image_file

CROP = (640, 480)
ENOUGH = 0.8


def write_crops(photos: Path, folder: Path, count: int) -> list[Path]:
    """Cut `count` JPEG files of 640 x 480 pixels out of the photographs, each from all places in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(file for file in photos.rglob("*") if is_image_file(file))
    written: list[Path] = []
    step = 0
    while len(written) < count:
        for file in files:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
            columns, rows = image.width // CROP[0], image.height // CROP[1]
            if columns and rows:
                left, top = (step % columns) * CROP[0], (step // columns % rows) * CROP[1]
                crop = image.crop((left, top, left + CROP[0], top + CROP[1]))
                written.append(folder / f"{len(written):05}.jpg")
                crop.save(written[-1], quality=90)
        step += 1
    for file in written[count:]:
        file.unlink()
    return written[:count]


def with_pillow(files: list[Path], size: int) -> None:
    """Read the files by a pool that calls Pillow and keeps nothing."""
    waiting: deque[Future[None]] = deque()
    jobs = int(joblib.cpu_count())
    with ProcessPoolExecutor(jobs) as pool:
        for start in range(0, len(files), BATCH):
            waiting.append(pool.submit(_pillow_alone, files[start : start + BATCH], size))
            if len(waiting) >= jobs * AHEAD:
                waiting.popleft().result()
        while waiting:
            waiting.popleft().result()


def _pillow_alone(files: list[Path], size: int) -> None:
    for file in files:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        scale = size / min(image.size)
        width, height = (max(size, int(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure both in turn and print the median speeds and their ratio."""
    parser = argparse.ArgumentParser(description="Speed of decoding JPEG files, next to Pillow alone.")
    parser.add_argument("photos", type=Path, help="folder of photographs to cut up")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        files = write_crops(options.photos, Path(scratch) / "test", options.count)
        request = {"folder": scratch, "size": options.size}
        load(request)  # warm: imports, and the files in the page cache
        ours: list[float] = []
        pillow: list[float] = []
        for _ in range(options.repeats):
            ours.append(_seconds(lambda: load(request)))
            pillow.append(_seconds(lambda: with_pillow(files, options.size)))
    ratios = [alone / own for own, alone in zip(ours, pillow, strict=True)]
    speeds = [options.count / statistics.median(seconds) for seconds in (ours, pillow)]
    lines = (
        f"{options.count} JPEG files of {CROP[0]} x {CROP[1]} to {options.size} px by {joblib.cpu_count()} "
        f"processes, median of {options.repeats}",
        f"latentbench {speeds[0]:.0f} images/s, Pillow alone {speeds[1]:.0f} images/s",
        f"ratio {statistics.median(ratios):.2f} (from {min(ratios):.2f} to "
        f"{max(ratios):.2f}; at least {ENOUGH} is wanted)",
    )
    print("\n".join(lines))  # noqa: T201 - a script's output


if __name__ == "__main__":
    main()
