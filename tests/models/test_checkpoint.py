"""Checkpoints: what is saved comes back; what is damaged or foreign is refused by name."""

import json
import pickle
import shutil
import subprocess
import sys

import pytest
import torch

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import checkpoint, zoo
from latentbench.models.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=32)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data():
    images = torch.randint(
        0, 256, (128, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return ImageData("noise", Split(images, None), Split(images[:8], None), ())


def train(data, *, progress=lambda *_: None, note=lambda _: None, seed=0, **spec):
    chosen = zoo.model_spec(**{"family": "vae", "latent_dim": 2, "hidden": 8, **spec})
    return zoo.train_or_load(zoo.Training(chosen, RECIPE, seed), data, progress=progress, note=note)


def only_folder():
    (folder,) = (zoo.cache_root() / "checkpoints").iterdir()
    return folder


def test_a_checkpoint_comes_back_whole(data):
    trained = train(data)
    loaded = checkpoint.load(only_folder())
    assert loaded.card == trained.card
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(loaded.model.encode(x).mean, trained.model.encode(x).mean)
    assert loaded.history.terms["kl"].tolist() == trained.history.terms["kl"].tolist()


def test_the_second_time_nothing_is_trained(data):
    steps = []
    first = train(data, progress=lambda done, total: steps.append(done))
    assert steps == list(range(1, 9))
    second = train(data, progress=lambda done, total: steps.append(done))
    assert len(steps) == 8
    assert torch.equal(first.model.to_code.weight, second.model.to_code.weight)


@pytest.mark.parametrize("change", [{"seed": 1}, {"beta": 2.0}, {"latent_dim": 3}])
def test_another_seed_or_spec_is_another_training(data, change):
    train(data)
    train(data, **change)
    assert len(list((zoo.cache_root() / "checkpoints").iterdir())) == 2


def test_retraining_gives_the_same_weights_to_the_last_bit(data):
    first = train(data)
    again = zoo.train_or_load(zoo.Training(first.card.spec, RECIPE, 0), data, use_cache=False)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x40
    path.write_bytes(content)


def claim_less_time(path):
    content = json.loads(path.read_text())
    content["card"]["train_seconds"] = 0.001
    path.write_text(json.dumps(content))


def reformat(path):
    path.write_text("[]")


DAMAGES = [
    (checkpoint.WEIGHTS, cut),
    (checkpoint.WEIGHTS, flip_a_bit),
    (checkpoint.WEIGHTS, lambda path: path.unlink()),
    (checkpoint.HISTORY, flip_a_bit),
    (checkpoint.CARD, claim_less_time),
    (checkpoint.CARD, cut),
    (checkpoint.CARD, reformat),
]


@pytest.mark.parametrize(("file", "damage"), DAMAGES)
def test_a_changed_checkpoint_is_noted_and_trained_again(data, file, damage):
    trained = train(data)
    damage(only_folder() / file)
    with pytest.raises(LatentbenchError, match=rf"{file}: "):
        checkpoint.load(only_folder())
    notes = []
    again = train(data, note=notes.append)
    assert len(notes) == 1
    assert notes[0].startswith(f"{only_folder() / file}: ")
    assert notes[0].endswith(" (seed 0) is trained again")
    assert torch.equal(trained.model.to_code.weight, again.model.to_code.weight)
    assert checkpoint.load(only_folder()).card == again.card


@pytest.mark.parametrize("files", [[checkpoint.WEIGHTS], list(checkpoint.FILES)])
def test_swapped_checkpoints_are_noted_and_trained_again(data, files):
    one, other = train(data, beta=0.5), train(data, beta=2.0)
    for file in files:
        shutil.copyfile(other.folder / file, one.folder / file)
    notes = []
    again = train(data, beta=0.5, note=notes.append)
    assert torch.equal(again.model.to_code.weight, one.model.to_code.weight)
    assert len(notes) == 1
    assert ("spec differs" in notes[0]) == (len(files) == 3)


def test_a_member_of_a_stack_is_checked_as_well(data):
    trainings = [
        zoo.Training(zoo.model_spec(family="ae", latent_dim=2, hidden=8), RECIPE, seed) for seed in (0, 1)
    ]
    first, _ = zoo.train_or_load_stack(trainings, data)
    flip_a_bit(first.folder / checkpoint.WEIGHTS)
    notes, steps = [], []
    zoo.train_or_load_stack(trainings, data, note=notes.append, progress=lambda *step: steps.append(step))
    assert len(notes) == 1
    assert steps


def test_a_pickle_is_never_read(data, tmp_path):
    train(data)

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    (only_folder() / checkpoint.WEIGHTS).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(LatentbenchError, match=r"weights\.safetensors: was changed"):
        checkpoint.load(only_folder())
    assert not (tmp_path / "exploded").exists()


def test_weights_that_do_not_fit_their_card_are_refused(data, tmp_path):
    trained = train(data)
    wider = trained.card.model_copy(update={"spec": zoo.model_spec(family="vae", latent_dim=5, hidden=8)})
    checkpoint.save(tmp_path / "other", checkpoint.Checkpoint(trained.model, wider, trained.history))
    with pytest.raises(LatentbenchError, match="weights of another model"):
        checkpoint.load(tmp_path / "other")


def test_a_folder_without_a_checkpoint_says_what_one_holds(tmp_path):
    with pytest.raises(LatentbenchError, match=r"holds model\.json and weights\.safetensors"):
        checkpoint.load(tmp_path)


def test_a_model_wider_than_memory_is_refused_unbuilt():
    spec = zoo.model_spec(family="ae", latent_dim=2, hidden=10**9)
    with pytest.raises(LatentbenchError, match=r"my\.yaml, models\[0\].*GB to train"):
        zoo.check_fits(spec, (1, 28, 28), "my.yaml, models[0]")


def test_a_checkpoint_is_read_without_the_zoo(data):
    label = train(data).card.spec.label
    folder = str(only_folder())
    read = f"from latentbench.models.checkpoint import load; print(load(Path({folder!r})).card.spec.label)"
    done = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path; {read}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{label}\n", done.stderr
