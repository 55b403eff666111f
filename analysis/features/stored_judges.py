"""Judges on disk: a JSON card names the data that a judge is for, and the file of its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentbench.analysis.features.judge import (
    JUDGES,
    QUICK,
    Judge,
    JudgeNetwork,
    JudgeRecipe,
    can_be_judged,
    train_judge,
)
from latentbench.analysis.statistics.fitting import Progress
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.storage.cache import CHANGED, cache_root, digest_of, write_to_cache
from latentbench.data.storage.files import write_atomically
from latentbench.models.external import state_dicts

ARCHITECTURE = "judge-2"
"""Raised with any change to the network, to the meaning of its features or to what is trained by default."""
SHIPPED = Path(__file__).parent / "judges"


class JudgeCard(BaseModel):
    """The content of a judge's JSON file; `n` is the number of test images behind the accuracy.

    `digest` is that of the rest, so that a changed accuracy is noticed; `hash` is that of the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    weights: Annotated[str, Field(pattern=r"^[\w.-]+\.safetensors$")]
    hash: str
    channels: Annotated[int, Field(ge=1)]
    classes: Annotated[int, Field(ge=2)]
    data: str
    accuracy: float
    n: int
    recipe: JudgeRecipe
    torch: str
    digest: str = ""


JudgeProgress = Callable[[int, int], Progress]
"""Takes the number of a judge that is to be trained, from 1, and the number of judges; follows its steps."""


def load_judges(
    data: ImageData,
    *,
    device: torch.device | str = "cpu",
    progress: JudgeProgress | None = None,
    note: Callable[[str], None] | None = None,
) -> tuple[Judge, ...]:
    """The judges of a data set: those in the package, or cached ones, or those trained now and cached.

    There are none for data without labels or with one class only: a metric that needs a judge is then null,
    for the reason `NO_JUDGE`. The cache is `LATENTBENCH_CACHE`/judges, by default in the user's cache
    folder. A cached judge that was damaged or changed is noted and trained again; for one in the package,
    LatentbenchError is raised. `progress` is given the number of a judge that is to be trained, from 1, and
    the number of judges, and returns what follows its steps.
    """
    if not can_be_judged(data):
        return ()
    if cards := find_cards(SHIPPED, data.fingerprint):
        return tuple(read_judge(card) for card in cards)
    return tuple(
        _cached(data, seed, device, None if progress is None else progress(seed + 1, JUDGES), note)
        for seed in range(JUDGES)
    )


def _cached(
    data: ImageData,
    seed: int,
    device: torch.device | str,
    progress: Progress | None,
    note: Callable[[str], None] | None,
) -> Judge:
    """The judge of one seed, read from the cache or trained."""
    name = f"{ARCHITECTURE}-quick-{data.fingerprint[:16]}-{seed}"
    cached = cache_folder() / f"{name}.json"
    if cached.exists():
        try:
            return _read_as(cached, data.fingerprint)
        except LatentbenchError as error:
            if note is not None:
                note(f"{error}; the judge of {data.name} is trained again")
    judge = train_judge(data, recipe=QUICK, seed=seed, device=device, progress=progress)
    write_judge(judge, cache_folder(), name, n=len(data.test), write=write_to_cache)
    return judge


def _read_as(path: Path, data_fingerprint: str) -> Judge:
    """Read the judge of a JSON file, which must be of these data."""
    card = _read_card(path)
    if (card.data, card.architecture) != (data_fingerprint, ARCHITECTURE):
        raise _unusable(path, "of other data or another network")
    return read_judge(path)


def cache_folder() -> Path:
    """Return the folder of the judges that were trained on this machine."""
    return cache_root() / "judges"


def find_cards(folder: Path, data_fingerprint: str) -> list[Path]:
    """The JSON files in `folder` of judges for the data with this fingerprint, in order of their names."""
    cards = [(path, _read_card(path)) for path in sorted(folder.glob("*.json"))]
    return [
        path for path, card in cards if (card.data, card.architecture) == (data_fingerprint, ARCHITECTURE)
    ]


def write_judge(
    judge: Judge,
    folder: Path,
    name: str,
    *,
    n: int,
    write: Callable[[Path, bytes], None] = write_atomically,
) -> Path:
    """Write `name`.json and the weights that it refers to, with `write`; `n` is the number of test images.

    The weights' file is named by their hash and the JSON is written last, so a reader never sees the
    card of one judge next to the weights of another.
    """
    network = judge.network.cpu()
    card = JudgeCard(
        architecture=ARCHITECTURE,
        weights=f"{name}-{judge.hash[:8]}.safetensors",
        hash=judge.hash,
        channels=network.channels,
        classes=network.classes,
        data=judge.data,
        accuracy=judge.accuracy,
        n=n,
        recipe=judge.recipe,
        torch=torch.__version__,
    )
    content = card.model_dump(mode="json", exclude={"digest"})
    sealed = json.dumps({**content, "digest": digest_of(content)}, indent=2)
    weights = safetensors.torch.save(state_dicts.storable(network.state_dict()))
    write(folder / card.weights, weights)
    write(folder / f"{name}.json", f"{sealed}\n".encode())
    return folder / f"{name}.json"


def read_judge(path: Path) -> Judge:
    """Read the judge that a JSON file describes, and verify the hash of its weights."""
    card = _read_card(path)
    weights = path.parent / card.weights
    network = JudgeNetwork(card.channels, card.classes)
    try:
        state = state_dicts.read(weights).state
        state_dicts.apply(network, state, "its content")
    except LatentbenchError as error:
        raise _unusable(weights, f"not this judge's weights ({error})") from None
    if state_dicts.fingerprint(state) != card.hash:
        raise _unusable(weights, f"its weights do not have the hash that {path.name} states")
    network = network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return Judge(network, card.hash, card.accuracy, card.data, card.recipe)


def _read_card(path: Path) -> JudgeCard:
    try:
        written = path.read_bytes()
        card = JudgeCard.model_validate_json(written)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _unusable(path, f"not a judge's card: {where}: {first['msg']}") from None
    # Of the content as it was written: a later version of latentbench may add fields to a card.
    content = json.loads(written)
    if content.pop("digest", None) != digest_of(content):
        raise _unusable(path, CHANGED)
    return card


def _unusable(path: Path, why: str) -> LatentbenchError:
    remedy = "; reinstall latentbench" if path.parent == SHIPPED else ""
    return LatentbenchError(f"{path}: {why}{remedy}")
