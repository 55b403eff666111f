"""Flows in the cache: the same flow is found again, and a changed file is not used."""

import pytest
import torch

from latentbench.analysis.flow.recipe import FlowRecipe
from latentbench.analysis.flow.stored_flows import address, flow_of
from latentbench.models.protocols import Posterior

CPU = torch.device("cpu")
RECIPE = FlowRecipe(width=16, blocks=1, steps=5, batch_size=32)
CODES = Posterior(torch.randn(64, 2, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    return lambda: sorted((tmp_path / "flows").iterdir())


def draw(trained):
    return trained.flow.sample(torch.ones(3, 2))


def found(seed=0):
    return flow_of(CODES, RECIPE, seed=seed, device=CPU)


def test_a_flow_is_trained_once(files):
    first = found()
    second = found()
    assert len(files()) == 1
    assert second.seconds == first.seconds
    assert torch.equal(draw(first), draw(second))
    assert torch.equal(first.losses, second.losses)


def test_a_changed_file_is_trained_again(files):
    first = found()
    (path,) = files()
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    again = found()
    assert again.seconds != first.seconds
    assert torch.equal(draw(first), draw(again))


def test_a_file_under_another_name_is_not_taken(files):
    found(seed=1)
    (path,) = files()
    path.rename(path.with_name(f"{address(CODES, RECIPE, 0, CPU)}.sealed"))
    assert not torch.equal(draw(found(seed=0)), draw(found(seed=1)))


def test_an_address_holds_codes_recipe_and_seed():
    other = Posterior(CODES.mean + 1)
    noisy = Posterior(CODES.mean, torch.zeros(64, 2))
    longer = RECIPE.model_copy(update={"steps": 6})
    given = [
        (CODES, RECIPE, 0),
        (other, RECIPE, 0),
        (noisy, RECIPE, 0),
        (CODES, longer, 0),
        (CODES, RECIPE, 1),
    ]
    assert len({address(codes, recipe, seed, CPU) for codes, recipe, seed in given}) == len(given)


def test_an_address_holds_the_precision_of_the_processor(monkeypatch):
    addresses = set()
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})  # noqa: B023
        addresses.add(address(CODES, RECIPE, 0, CPU))
    assert len(addresses) == 2
