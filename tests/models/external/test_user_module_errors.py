"""Every mistake in a model that a user names in a suite is reported in one line."""

import re
import textwrap

import pytest
import safetensors.torch
import torch
from shared.user_modules import loaded, module, refusal, resolved

from latentbench.data.errors import LatentbenchError
from latentbench.models import zoo

pytestmark = pytest.mark.usefixtures("apart")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"import": "a:b:c"}, "import must be module:attribute, or the name of an installed model"),
        ({"import": 3}, "import must be a valid string, got 3"),
        ({"family": "import"}, "the key 'import' is missing"),
        ({"family": "vae", "latent_dim": 2, "import": "a:b"}, "family 'vae': unknown key 'import'"),
        ({"import": "a:b", "kwarg": {}}, "unknown key 'kwarg'; did you mean 'kwargs'"),
        ({"import": "a:b", "kwargs": [1]}, "kwargs must be a valid dictionary"),
        ({"import": "a:b", "checkpoint": ""}, "checkpoint"),
        ({"import": "a:b", "name": " "}, "name"),
        ({"import": "a:b", "checkpoint_sha256": "12"}, "checkpoint_sha256"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(LatentbenchError, match=re.escape(message)):
        zoo.model_spec(**settings)


WRONG = """
    import torch
    from torch import nn

    class Base(nn.Module):
        def encode(self, x):
            return x.flatten(1)[:, :4]

        def decode(self, z):
            return torch.zeros(len(z), 1, 8, 8)

    class Mute(nn.Module): pass

    class NoDecode(nn.Module):
        def encode(self, x): return x.flatten(1)

    class NoText(nn.Module):
        def encode_image(self, x): return x.flatten(1)

    class FiveAxes(Base):
        def encode(self, x): return x[..., None]

    class OneRow(Base):
        def encode(self, x): return x.flatten(1)[:1]

    class Dict(Base):
        def encode(self, x): return {"z": x}

    class Triple(Base):
        def encode(self, x): return x, x, x

    class OddLogVar(Base):
        def encode(self, x): return x.flatten(1)[:, :4], x.flatten(1)[:, :3]

    class NanCode(Base):
        def encode(self, x): return x.flatten(1) * float("nan")

    class NanLogVar(Base):
        def encode(self, x): return x.flatten(1), x.flatten(1) * float("inf")

    class Samples(Base):
        def encode(self, x): return torch.randn(len(x), 4)

    class Flat(Base):
        def decode(self, z): return torch.zeros(len(z), 64)

    class NoTensor(Base):
        def decode(self, z): return [0.0]

    class Logits(Base):
        def decode(self, z): return torch.full((len(z), 1, 8, 8), -3.0)

    class NanImage(Base):
        def decode(self, z): return torch.full((len(z), 1, 8, 8), float("nan"))

    class Raises(Base):
        def decode(self, z):
            return helper(z)

    def helper(z):
        raise RuntimeError("two\\n  lines")

    class TorchRaises(Base):
        def encode(self, x): return x.flatten(1) @ torch.zeros(3, 3)

    class State(Base):
        def get_extra_state(self): return {"a": 1}
        def set_extra_state(self, state): pass

    class Image2(nn.Module):
        def encode_image(self, x): return torch.ones(len(x), 4)
        def encode_text(self, captions): return torch.ones(len(captions), 4)

    class Text3(Image2):
        def encode_image(self, x): return torch.ones(len(x), 4) / 2
        def encode_text(self, captions): return torch.ones(len(captions), 3) / 3**0.5

    def number(): return 3
    def exits(): raise SystemExit("usage: train.py")
    CONSTANT = 1
"""


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("Mute", "Mute has no encode, expected encode and decode, or encode_image and encode_text"),
        ("NoDecode", "NoDecode has no decode, expected"),
        ("NoText", "NoText has no encode_text, expected"),
        (
            "FiveAxes",
            "encode returned [2, 1, 8, 8, 1], expected [2, D], a grid [2, C, h, w] or tokens",
        ),
        ("OneRow", "encode returned [1, 64], expected [2, D]"),
        ("Dict", "encode returned dict, expected a tensor [B, *shape], a pair (mean, log_var)"),
        ("Triple", "encode returned tuple, expected a tensor [B, *shape], a pair (mean, log_var)"),
        ("OddLogVar", "encode returned log_var [2, 3], expected [2, 4] as of the mean"),
        ("NanCode", "encode returned values that are not finite"),
        ("NanLogVar", "encode returned values that are not finite"),
        ("Samples", "encode returned two results for one input, expected the same twice"),
        ("Flat", "decode returned [2, 64], expected [2, 1, 8, 8]"),
        ("NoTensor", "decode returned list, expected a tensor [B, 1, 8, 8]"),
        ("Logits", "decode returned values from -3 to -3, expected all within [0, 1]"),
        ("NanImage", "decode returned values that are not finite"),
        ("TorchRaises", "encode: RuntimeError: "),
        ("State", "'_extra_state' of the state dict is no dense tensor"),
        ("Image2", "encode_image returned vectors of length 2, expected length 1"),
        ("number", "returned int, expected a torch.nn.Module with encode and decode"),
        ("exits", "SystemExit: usage: train.py (wrong.py, line "),
        ("CONSTANT", "is of type int, expected a function or a class"),
    ],
)
def test_faulty_model_is_an_error_of_one_line(attribute, message, data, tmp_path):
    (tmp_path / "wrong.py").write_text(textwrap.dedent(WRONG))
    said = refusal(f"wrong:{attribute}", data, tmp_path)
    assert said.startswith(f"wrong:{attribute}: ")
    assert message in said


def test_an_exception_says_where_in_the_user_s_own_code(data, tmp_path):
    text = textwrap.dedent(WRONG)
    (tmp_path / "wrong.py").write_text(text)
    line = text.splitlines().index('    raise RuntimeError("two\\n  lines")') + 1
    said = refusal("wrong:Raises", data, tmp_path)
    assert said == f"wrong:Raises: decode: RuntimeError: two lines (wrong.py, line {line})"
    assert "(wrong.py, line " in refusal("wrong:TorchRaises", data, tmp_path)


def test_a_width_of_text_unlike_that_of_images_is_refused(data, tmp_path):
    (tmp_path / "wrong.py").write_text(textwrap.dedent(WRONG))
    assert "encode_text returned [2, 3], expected [2, 4]" in refusal("wrong:Text3", data, tmp_path)


def test_vectors_that_are_not_normalised_are_refused(data, folder):
    said = refusal("mine:Towers", data, folder, kwargs={"scale": 2.0})
    assert "encode_image returned vectors of length 2, expected length 1 (L2-normalised)" in said


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mien:Plain", "unknown module 'mien'; did you mean 'mine'?"),
        ("mine.py:Plain", "mine.py:Plain: a module is named without its .py: mine:Plain"),
        ("mine:Plane", "unknown attribute 'Plane'; did you mean 'Plain'? Known: Plain"),
        ("mine:Plain.narrow", "unknown attribute 'narrow'"),
        ("needs:build", "ModuleNotFoundError: No module named 'not_there' (needs.py, line 1)"),
        ("broken:build", "SyntaxError: "),
        ("falls:build", "ZeroDivisionError: division by zero (falls.py, line 2)"),
        ("nowhere", "unknown installed model 'nowhere'; known: none (name your own as module:attribute)"),
    ],
)
def test_failed_import_error_lists_the_choices(target, message, data, folder):
    (folder / "needs.py").write_text("import not_there\n")
    (folder / "broken.py").write_text("def build(:\n")
    (folder / "falls.py").write_text("x = 1\nx / 0\n")
    assert message in refusal(target, data, folder)


def test_keywords_that_do_not_fit_say_which_do(data, folder):
    said = refusal("mine:Plain", data, folder, kwargs={"latnet": 2})
    assert said == (
        "mine:Plain: got an unexpected keyword argument 'latnet'; it takes (latent=3), kwargs gives latnet"
    )


def test_a_checkpoint_that_does_not_fit_is_one_line(data, folder):
    safetensors.torch.save_file({"other.weight": torch.zeros(2)}, str(folder / "w.safetensors"))
    said = refusal("mine:Plain", data, folder, checkpoint="w.safetensors")
    assert said.startswith(
        "mine:Plain: checkpoint w.safetensors: does not fit the model: lacks 'down.weight'"
    )
    assert "has also 'other.weight'" in said
    said = refusal("mine:Plain", data, folder, checkpoint="absent.pt")
    assert said.startswith("checkpoint absent.pt: no such file in ")


def test_pickled_checkpoint_needs_the_flag(data, folder):
    resolved("mine:Plain", data, folder)
    source = module("mine").Plain()
    torch.save({"state_dict": source.state_dict()}, folder / "w.pt")
    assert "--allow-pickle" in refusal("mine:Plain", data, folder, checkpoint="w.pt")
    spec = resolved("mine:Plain", data, folder, checkpoint="w.pt", allow_pickle=True)
    assert torch.equal(loaded(spec, data).model.module.up.bias, source.up.bias)
