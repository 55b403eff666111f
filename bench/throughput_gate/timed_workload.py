"""One process of a throughput gate: times a VAE's train step, encoding and decoding, and prints JSON.

    python -m latentbench.bench.throughput_gate.timed_workload
    {"train_step_seconds": 0.0051, "encode_seconds": …}

Each number is the median of the calls in a fifth of a second, after a tenth of a second to warm up, on a
batch of 256 random images; every further line on the standard input is answered by new numbers. Two
processes differ (where memory lies, what else the machine does), which is why a gate starts many of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable

import torch

from latentbench.models.protocols import Autoencoder
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import FAMILIES, model_spec

BATCH, WARM_UP_SECONDS, SECONDS = 256, 0.1, 0.2


def median_seconds(call: Callable[[], object], *, slower: float = 0.0) -> float:
    """Return the median duration of a call; each call is made slower by the share `slower` of itself."""
    warm_until = time.perf_counter() + WARM_UP_SECONDS
    while time.perf_counter() < warm_until:
        call()
    durations: list[float] = []
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(durations) < 5:
        began = time.perf_counter()
        call()
        busy_until = began + (time.perf_counter() - began) * (1 + slower)
        while time.perf_counter() < busy_until:
            pass
        durations.append(time.perf_counter() - began)
    return statistics.median(durations)


def stopwatch(*, slower: float = 0.0, device: str | None = None) -> Callable[[], dict[str, float]]:
    """Return a function that measures the seconds of each quantity; `slower` slows down the train step."""
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.manual_seed(0)
    spec = model_spec(family="vae", latent_dim=16)
    model = FAMILIES[spec.family].build(spec, (1, 28, 28)).to(place)
    assert isinstance(model, Autoencoder)
    images = torch.randint(0, 256, (BATCH, 1, 28, 28), dtype=torch.uint8).to(place)
    batch = images.float() / 255
    step = model.train_step(Recipe(batch_size=BATCH))
    assert step is not None

    def waited(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            call()
            if place.type == "cuda":
                torch.cuda.synchronize()

        return run

    def measure() -> dict[str, float]:
        with torch.inference_mode():
            codes = model.encode(batch).mean
            encode = median_seconds(waited(lambda: model.encode(batch)))
            decode = median_seconds(waited(lambda: model.decode(codes)))
        train = median_seconds(waited(lambda: step(images)), slower=slower)
        return {"encode_seconds": encode, "decode_seconds": decode, "train_step_seconds": train}

    return measure


def main() -> None:
    """Print one line of JSON, and one more for every line on the standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slower", type=float, default=0.0, help="slow the train step down by this share")
    measure = stopwatch(slower=parser.parse_args().slower)
    # At a terminal there is one turn only, so that the command ends by itself.
    asked: Iterable[str] = () if sys.stdin.isatty() else sys.stdin
    for _ in itertools.chain(["the first"], asked):
        sys.stdout.write(json.dumps(measure()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
