"""Weights fit a model by name and shape, with or without a wrapper's prefix, or they are refused."""

import io
import zipfile

import pytest
import safetensors.torch
import torch
from shared.state_dicts import STATE, refusal
from torch import nn

from latentbench.data.errors import LatentbenchError
from latentbench.models.external import state_dicts


def assert_same(state, expected):
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_weights_must_fit_name_by_name():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    state = {"0.weight": torch.zeros(2, 3), "extra": torch.zeros(1)}
    with pytest.raises(
        LatentbenchError,
        match=r"^here: does not fit the model: lacks '0.bias', '1.weight', '1.bias' and 2 more "
        r"and has also 'extra'$",
    ):
        state_dicts.apply(model, state, "here")


def test_weights_must_fit_in_shape():
    with pytest.raises(LatentbenchError, match=r"here: weight is \[2, 3\], the model's is \[2, 4\]"):
        state_dicts.apply(nn.Linear(4, 2), STATE, "here")


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(4, 4)
        self.decoder.weight = self.encoder.weight


def test_tied_weights_load_from_one_or_both_names(tmp_path):
    source = Tied()
    one_name = tmp_path / "tied.safetensors"
    safetensors.torch.save_model(source, str(one_name))
    state_dicts.keep(source.state_dict(), "0" * 64)
    for state in (state_dicts.read(one_name).state, state_dicts.load_kept("0" * 64)):
        model = Tied()
        state_dicts.apply(model, state, "tied")
        assert torch.equal(model.encoder.weight, source.encoder.weight)
        assert model.decoder.weight is model.encoder.weight
    with pytest.raises(LatentbenchError, match=r"lacks 'encoder\.weight'"):
        state_dicts.apply(
            nn.ModuleDict({"encoder": nn.Linear(4, 4), "decoder": nn.Linear(4, 4)}),
            state_dicts.read(one_name).state,
            "untied",
        )


def test_the_fingerprint_is_of_names_types_shapes_and_values():
    changes = [
        {**STATE, "bias": torch.tensor([1.0, -2.0])},
        {**STATE, "bias": STATE["bias"].double()},
        {**STATE, "weight": STATE["weight"].reshape(3, 2)},
        {"weight": STATE["weight"], "offset": STATE["bias"]},
        {},
    ]
    prints = [state_dicts.fingerprint(state) for state in [STATE, *changes]]
    assert len(set(prints)) == len(prints)
    assert state_dicts.fingerprint(dict(reversed(STATE.items()))) == prints[0]
    assert state_dicts.fingerprint({"a": torch.ones(3, dtype=torch.bfloat16), "b": torch.tensor(3)})


def test_what_is_no_dense_tensor_cannot_be_kept():
    with pytest.raises(LatentbenchError, match="'a' of the state dict is no dense tensor"):
        state_dicts.storable({"a": torch.eye(2).to_sparse()})
    with pytest.raises(LatentbenchError, match=r"'weight' of the state dict"):
        state_dicts.storable(nn.LazyLinear(3).state_dict())


def normed():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: f"module.{name}",
        lambda name: f"model.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"model.module.{name}",
        lambda name: name.replace("1.", "1._orig_mod."),
    ],
)
def test_wrappers_prefixes_are_left_out(rename):
    source, model = normed(), normed()
    nn.init.constant_(source[0].bias, 5.0)
    state_dicts.apply(model, {rename(name): t for name, t in source.state_dict().items()}, "here")
    assert_same(model.state_dict(), source.state_dict())


def test_a_compiled_model_takes_the_plain_names():
    source = normed()
    nn.init.constant_(source[0].bias, 5.0)
    compiled = torch.compile(normed())
    state_dicts.apply(compiled, source.state_dict(), "here")
    assert (compiled._orig_mod[0].bias == 5).all()


def test_a_lightning_checkpoint_is_read_without_its_other_parts(write):
    source = normed()
    nn.init.constant_(source[0].bias, 5.0)
    state = {f"model.{name}": tensor for name, tensor in source.state_dict().items()}
    saved = {"state_dict": {**state, "loss.weight": torch.ones(1)}, "pytorch-lightning_version": "2.4"}
    model = normed()
    state_dicts.apply(model, state_dicts.read(write(saved), allow_pickle=True).state, "here")
    assert_same(model.state_dict(), source.state_dict())


def test_a_prefix_of_the_model_itself_is_kept():
    model = nn.ModuleDict({"model": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    state = {name: torch.ones_like(tensor) for name, tensor in model.state_dict().items()}
    state_dicts.apply(model, state, "here")
    assert (model["head"].bias == 1).all()
    with pytest.raises(LatentbenchError, match=r"lacks 'head\.weight'"):
        state_dicts.apply(model, {n: t for n, t in state.items() if n.startswith("model.")}, "here")


def test_derived_buffers_may_be_missing():
    source, model = normed(), normed()
    source[1].running_mean.fill_(3.0)
    state = {name: t for name, t in source.state_dict().items() if "num_batches" not in name}
    state_dicts.apply(model, state, "here")
    assert (model[1].running_mean == 3).all()
    state_dicts.apply(model, {**state, "embeddings.position_ids": torch.arange(3)}, "here")
    del state["1.running_mean"]
    with pytest.raises(LatentbenchError, match=r"lacks '1\.running_mean'"):
        state_dicts.apply(model, state, "here")


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_an_expanded_tensor_is_refused_before_it_is_allocated(write, how):
    huge = {"weight": torch.zeros(1).expand(2**34)}
    message = refusal(write(huge, **how), allow_pickle=True)
    assert "its tensors take 68.7 GB and its file 0.0 GB; save them contiguous" in message


def test_an_archive_that_unpacks_to_far_more_is_refused(write):
    stored = io.BytesIO()
    torch.save({"weight": torch.zeros(2**25)}, stored)
    packed = io.BytesIO()
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for part in source.infolist():
            target.writestr(part.filename, source.read(part))
    assert "its tensors take 0.1 GB" in refusal(write(packed.getvalue()), allow_pickle=True)


def test_tied_weights_may_take_more_than_their_file(write):
    weight = torch.ones(2**22)
    state = state_dicts.read(write({f"name{n}": weight for n in range(3)}), allow_pickle=True).state
    assert torch.equal(state["name2"], weight)
