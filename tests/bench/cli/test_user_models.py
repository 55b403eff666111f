"""A user's own model is measured by the command line as any other."""

import json

import pytest
import safetensors.torch
import torch
from shared.commands import QUICK, latentbench, latentbench_here

from latentbench import data as datasets
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store


def test_users_code_may_print_and_change_the_folder(home):
    (home / "elsewhere").mkdir()
    (home / "loud.py").write_text(f"import os\nprint('hello')\nos.chdir('elsewhere')\n{MINE}")
    (home / "my.yaml").write_text(
        "{description: x, data: digits, analyses: [reconstruction], "
        "models: [{import: 'loud:build', kwargs: {width: 4}, name: loud}]}"
    )
    done = latentbench(home, "run", "my.yaml", *QUICK, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert [row["model"] for row in json.loads(done.stdout)] == ["loud-4"]
    assert "hello" in done.stderr
    assert list((home / "results" / "runs" / "my").glob("*.jsonl"))
    assert not list((home / "elsewhere").iterdir())


OWN = """
description: my own model next to PCA
data: digits
analyses: [reconstruction]
models:
  - {{import: "mine:build", kwargs: {{width: 4}}, checkpoint: {checkpoint}, name: my-ae}}
  - {{family: pca, latent_dim: 4}}
"""


MINE = """
import torch


class Mine(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down, self.up = torch.nn.Linear(64, width), torch.nn.Linear(width, 64)

    def encode(self, x):
        return self.down(x.flatten(1))

    def decode(self, z):
        return self.up(z).sigmoid().view(-1, 1, 8, 8)


def build(width):
    return Mine(width)
"""


def write_weights(path, *, bias, extra=None):
    """Weights of MINE with which it decodes every code to one shade of grey."""
    state = {
        "down.weight": torch.ones(4, 64),
        "down.bias": torch.zeros(4),
        "up.weight": torch.zeros(64, 4),
        "up.bias": torch.full((64,), bias),
    }
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, str(path))
    else:
        torch.save({"state_dict": state, **(extra or {})}, path)


def test_a_user_model_is_measured_next_to_the_zoo(home):
    (home / "suites").mkdir()
    (home / "suites" / "my.yaml").write_text(OWN.format(checkpoint="mine.safetensors"))
    (home / "suites" / "mine.py").write_text(MINE)
    write_weights(home / "suites" / "mine.safetensors", bias=0.0)
    command = ("run", "suites/my.yaml", *QUICK)
    first = latentbench(home, *command)
    assert first.returncode == 0, first.stderr
    assert "my-ae-4" in first.stdout
    store = Store(home / "results")
    (path,) = store.paths("my")
    mine, pca = sorted(read(path).records, key=lambda record: record.model.family)
    assert (mine.status, pca.status) == ("ok", "ok")
    test = datasets.load("digits").test.images / 255
    assert mine.metric("mse").value == pytest.approx((test - 0.5).square().mean().item(), rel=1e-6)

    again = latentbench_here(home, *command)
    assert "all 2 cases are already done" in again.stderr
    assert store.paths("my") == [path]

    write_weights(home / "suites" / "mine.safetensors", bias=1.0)
    other = latentbench_here(home, *command)
    assert "1 already done" in other.stderr
    records = read(store.paths("my")[-1]).records
    (newer,) = [record for record in records if record.model.family == "import"]
    assert newer.case != mine.case
    assert newer.metric("mse").value != mine.metric("mse").value

    (home / "suites" / "mine.py").write_text(MINE.replace("self.up(z)", "self.up(z).mul(2)"))
    changed = latentbench_here(home, *command)
    assert "1 already done" in changed.stderr
    records = read(store.paths("my")[-1]).records
    (newest,) = [record for record in records if record.model.family == "import"]
    assert newest.case == newer.case
    assert newest.metric("mse").value != newer.metric("mse").value


class Bomb:
    """Writes a file when its pickle is read."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (open, (self.target, "w"))


def test_pickles_are_read_only_on_request_and_never_run(home):
    (home / "own.yaml").write_text(OWN.format(checkpoint="mine.pt"))
    (home / "mine.py").write_text(MINE)
    write_weights(home / "mine.pt", bias=0.0)
    refused = latentbench_here(home, "run", "own.yaml", *QUICK)
    assert refused.returncode == 2
    first, error = refused.stderr.strip().splitlines()
    assert first == "own.yaml: loading; results go to results"
    assert "own.yaml, models[0]: checkpoint mine.pt: is a pickle" in error
    allowed = latentbench(home, "run", "own.yaml", "--allow-pickle", *QUICK)
    assert allowed.returncode == 0, allowed.stderr
    assert len(list((home / "cache" / "imported").glob("*.sealed"))) == 1

    write_weights(home / "mine.pt", bias=0.0, extra={"hook": Bomb(home / "exploded")})
    for flags in ((), ("--allow-pickle",)):
        done = latentbench_here(home, "run", "own.yaml", *flags, *QUICK)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 2
    assert not (home / "exploded").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("view(-1, 1, 8, 8)", "view(-1, 64)"), "mine:build: decode returned [2, 64], expected [2, 1, 8, 8]"),
        (
            ("return Mine", "return 1 / 0 or Mine"),
            "mine:build: ZeroDivisionError: division by zero (mine.py, line",
        ),
        (("def build", "def make"), "mine:build: unknown attribute 'build'"),
        (("build(width)", "build(size)"), "mine:build: missing a required argument: 'size'"),
        (("Linear(64, width)", "Linear(64, width + 1)"), "down.weight is [4, 64], the model's is [5, 64]"),
    ],
)
def test_a_mistake_in_a_user_model_is_one_line_and_exit_2(home, change, message):
    (home / "own.yaml").write_text(OWN.format(checkpoint="mine.safetensors"))
    (home / "mine.py").write_text(MINE.replace(*change))
    write_weights(home / "mine.safetensors", bias=0.0)
    done = latentbench_here(home, "run", "own.yaml", *QUICK)
    assert done.returncode == 2
    assert "error: own.yaml, models[0]: mine:build: " in done.stderr
    *before, said = done.stderr.strip().splitlines()
    assert message in said
    assert all("loading; results go to" in line for line in before)
    assert len(before) == 1
    assert done.stdout == ""
