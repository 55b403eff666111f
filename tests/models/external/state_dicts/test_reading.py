"""State dicts: matching weights are loaded, files that could run code are refused, mismatches say why."""

import pickle

import pytest
import safetensors.torch
import torch
from shared.state_dicts import STATE, refusal
from torch import nn

from latentbench.data.errors import LatentbenchError
from latentbench.models.external import state_dicts


@pytest.fixture
def bomb(tmp_path):
    """An object whose pickle writes a file when it is read, and where that file would be."""
    target = tmp_path / "exploded"

    class Bomb:
        def __reduce__(self):
            return (open, (str(target), "w"))

    return Bomb(), target


def assert_same(state, expected):
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_safetensors_are_read_under_any_file_name(write):
    path = write(safetensors.torch.save(STATE))
    read = state_dicts.read(path)
    assert_same(read.state, STATE)
    assert len(read.sha256) == 64


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_pickle_is_refused_by_what_is_in_it_not_by_its_name(write, how):
    message = refusal(write(STATE, **how))
    assert "is a pickle, and reading a pickle can run code" in message
    assert "--allow-pickle" in message
    assert "safetensors.torch.save_model" in message


@pytest.mark.parametrize(
    "saved", [STATE, {"state_dict": STATE, "epoch": 3}, {"model_state_dict": STATE, "optimizer": {"lr": 1}}]
)
@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_with_the_flag_tensors_are_read_and_kept_as_safetensors(write, saved, how):
    read = state_dicts.read(write(saved, **how), allow_pickle=True)
    assert_same(read.state, STATE)
    assert_same(state_dicts.load_kept(read.sha256), STATE)


def test_a_pickle_is_converted_once(write, monkeypatch):
    path = write(STATE)
    first = state_dicts.read(path, allow_pickle=True)
    monkeypatch.setattr(torch, "load", None)
    again = state_dicts.read(path, allow_pickle=True)
    assert again.sha256 == first.sha256
    assert torch.equal(again.state["weight"], STATE["weight"])


@pytest.mark.parametrize(
    "damage", [lambda content: content[:20], lambda content: content[:-1] + bytes([content[-1] ^ 1])]
)
def test_a_damaged_conversion_is_made_anew(write, damage):
    path = write(STATE)
    kept = state_dicts.kept_at(state_dicts.read(path, allow_pickle=True).sha256)
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert_same(state_dicts.read(path, allow_pickle=True).state, STATE)
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("allow_pickle", [False, True])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_malicious_pickle_never_runs(write, bomb, allow_pickle, protocol):
    malice, exploded = bomb
    refusal(write(pickle.dumps(malice, protocol=protocol)), allow_pickle=allow_pickle)
    assert not exploded.exists()


@pytest.mark.parametrize("allow_pickle", [False, True])
@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_malice_in_a_torch_checkpoint_never_runs(write, bomb, allow_pickle, how):
    malice, exploded = bomb
    message = refusal(write({"state_dict": STATE, "hook": malice}, **how), allow_pickle=allow_pickle)
    assert ("holds more than tensors" in message) == allow_pickle
    assert not exploded.exists()


def test_a_pickle_posing_as_safetensors_is_not_read_as_a_pickle(write, bomb):
    malice, exploded = bomb
    header = b'{"a":1}'
    posing = len(header).to_bytes(8, "little") + header + pickle.dumps(malice)
    assert "truncated or damaged safetensors" in refusal(write(posing), allow_pickle=True)
    assert not exploded.exists()


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (nn.Linear(2, 2), "holds more than tensors, which --allow-pickle does not read either .*Linear"),
        ([1, 2], "holds a list, expected a state dict"),
        (torch.ones(2), "holds a Tensor, expected a state dict"),
        ({}, "holds nothing; expected a state dict"),
        (
            {"weights": STATE, "epoch": 1},
            "holds values other than tensors under 'weights', 'epoch'; expected",
        ),
    ],
)
def test_a_pickle_without_a_state_dict_says_what_it_holds(write, saved, message):
    with pytest.raises(LatentbenchError, match=message):
        state_dicts.read(write(saved), allow_pickle=True)


@pytest.mark.parametrize("length", [1, 20, 300, -50])
def test_a_truncated_pickle_is_refused(write, length):
    whole = write(STATE).read_bytes()
    refusal(write(whole[:length]), allow_pickle=True)


@pytest.mark.parametrize("length", [1, 8, 9, 40, -1])
def test_truncated_safetensors_are_refused(write, length):
    whole = safetensors.torch.save(STATE)
    refusal(write(whole[:length]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is neither safetensors nor a file of torch.save"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), r"it begins with b'\x89HDF"),
    ],
)
def test_a_foreign_file_is_refused(write, content, message):
    assert message in refusal(write(content), allow_pickle=True)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(LatentbenchError, match=r"checkpoint nowhere\.pt: no such file in"):
        state_dicts.read(tmp_path / "nowhere.pt")
    with pytest.raises(LatentbenchError, match="cannot be read: Is a directory"):
        state_dicts.read(tmp_path)
