"""Models that a user names in a suite are measured alike, and every mistake is reported in one line."""

import copy
import json
import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from pydantic import BaseModel

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.generation.feature_distances import OF_FEATURES
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import checkpoint, zoo
from latentbench.models.external import state_dicts
from latentbench.models.family import AnySpec
from latentbench.models.protocols import Autoencoder, ImageTextModel
from latentbench.models.resolver import Resolver
from latentbench.models.source_code import resolve_object
from latentbench.models.training.recipe import Recipe

PAGE = Path(__file__).parents[3] / "docs" / "own_model.md"

MODULE = """
    import torch
    from torch import nn
    from latentbench.models.protocols import Posterior

    class Plain(nn.Module):
        def __init__(self, latent=3):
            super().__init__()
            self.down, self.up = nn.Linear(64, latent), nn.Linear(latent, 64)

        def encode(self, x):
            return self.down(x.flatten(1))

        def decode(self, z):
            return self.up(z).sigmoid().unflatten(1, (1, 8, 8))

        @classmethod
        def wide(cls):
            return cls(12)

    class Pair(Plain):
        def encode(self, x):
            mean = super().encode(x)
            return mean, torch.full_like(mean, -2.0)

    class Grid(Plain):
        def encode(self, x):
            return super().encode(x).unflatten(1, (3, 1, 1)).expand(-1, -1, 2, 2)

        def decode(self, z):
            return super().decode(z.mean((2, 3)))

    class Tokens(Plain):
        def encode(self, x):
            return super().encode(x).unflatten(1, (1, 3)).expand(-1, 5, -1)

        def decode(self, z):
            return super().decode(z.mean(1))

    class Returned:
        def __init__(self, **fields):
            vars(self).update(fields)

    class LatentDist(Grid):
        def encode(self, x):
            mean = super().encode(x)
            return Returned(latent_dist=Returned(mean=mean, logvar=torch.full_like(mean, -2.0)))

        def decode(self, z):
            return Returned(sample=super().decode(z))

    class Latents(Grid):
        def encode(self, x):
            return Returned(latents=super().encode(x))

    class Latent(Grid):
        def encode(self, x):
            return Returned(latent=super().encode(x))

    class Ours(Pair):
        def encode(self, x):
            return Posterior(*super().encode(x))

    class Tied(Plain):
        def __init__(self):
            super().__init__(64)
            self.up.weight = self.down.weight

    class Noisy(Plain):
        def encode(self, x):
            return nn.functional.dropout(super().encode(x), training=self.training)

    class Nothing(nn.Module):
        def encode(self, x):
            return x.flatten(1)

        def decode(self, z):
            return z.unflatten(1, (1, 8, 8))

    class Uncopyable(Plain):
        def __init__(self):
            super().__init__()
            self.stream = (value for value in ())

    class Towers(nn.Module):
        def __init__(self, scale=1.0):
            super().__init__()
            self.image, self.scale = nn.Linear(64, 5), scale

        def encode_image(self, x):
            return self.scale * nn.functional.normalize(self.image(x.flatten(1)), dim=1)

        def encode_text(self, captions):
            lengths = torch.tensor([[float(len(caption)), 1, 2, 3, 4] for caption in captions])
            return nn.functional.normalize(lengths, dim=1)
"""


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    """A cache of its own for each test, and nothing left behind of what it imports."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if not name.startswith("latentbench"):
            del sys.modules[name]


@pytest.fixture
def data():
    images = torch.randint(
        0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return ImageData("noise", Split(images, None), Split(images[:8], None), ())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(textwrap.dedent(MODULE))
    return tmp_path


def spec_of(target, **settings):
    return zoo.model_spec(**{"import": target, **settings})


def resolved(target, data, folder, *, allow_pickle=False, **settings):
    return zoo.resolve(spec_of(target, **settings), data, Resolver(folder, allow_pickle))


def loaded(spec, data, seed=0):
    return zoo.train_or_load(zoo.Training(spec, Recipe(), seed), data)


@pytest.mark.parametrize(
    ("target", "shape", "stochastic"),
    [
        ("Plain", None, False),
        ("Grid", (3, 2, 2), False),
        ("Tokens", (5, 3), False),
        ("LatentDist", (3, 2, 2), True),
        ("Latents", (3, 2, 2), False),
        ("Latent", (3, 2, 2), False),
    ],
)
def test_codes_of_any_shape_are_measured(target, shape, stochastic, data, folder):
    spec = resolved(f"mine:{target}", data, folder)
    assert (spec.code_shape, spec.latent_dim) == (shape, 3)
    assert spec.label == f"{target}-{'×'.join(map(str, shape or (3,)))}"
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec
    subject = Subject(loaded(spec, data).model, DataContext(data), seed=0)
    assert subject.code_shape == (shape or (3,))
    assert subject.is_stochastic == stochastic
    for name, each in ANALYSES.items():
        if not each.exclusive and name not in ("importance", *OF_FEATURES):
            metrics = {metric.name: metric for metric in each.measure(subject).metrics}
            assert list(metrics) == [metric.name for metric in each.metrics]
            if name == "reconstruction":
                assert metrics["mse"].value > 0
            if name == "code":
                assert metrics["code_values"].value == torch.Size(shape or (3,)).numel()
                assert metrics["compression"].value == 64 / metrics["code_values"].value


def refusal(target, data, folder, **settings):
    with pytest.raises(LatentbenchError) as caught:
        resolved(target, data, folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def module(name):
    return sys.modules[name]


@pytest.mark.parametrize(
    ("target", "width", "stochastic"),
    [
        ("mine:Plain", 3, False),
        ("mine:Plain.wide", 12, False),
        ("mine:Pair", 3, True),
        ("mine:Ours", 3, True),
        ("mine:Noisy", 3, False),
        ("mine:Nothing", 64, False),
        ("mine:Uncopyable", 3, False),
    ],
)
def test_a_module_is_measured_whatever_form_its_code_takes(target, width, stochastic, data, folder):
    spec = resolved(target, data, folder)
    assert spec.latent_dim == width
    trained = loaded(spec, data)
    assert len(trained.history) == 0
    assert isinstance(trained.model, Autoencoder)
    assert not isinstance(trained.model, ImageTextModel)
    subject = Subject(trained.model, DataContext(data), seed=0)
    assert subject.is_stochastic == stochastic
    values = {metric.name: metric for metric in ANALYSES["throughput"].measure(subject).metrics}
    assert values["encode_images_per_second"].value > 0
    assert values["train_step_images_per_second"].value is None
    assert values["train_step_images_per_second"].reason == "no train step"
    assert copy.deepcopy(trained.model).train_step(Recipe()) is None
    if target == "mine:Nothing":
        torch.testing.assert_close(subject.decode(subject.test_codes.mean), data.test.images / 255)


def test_two_towers_are_measured_as_such(data, folder):
    spec = resolved("mine:Towers", data, folder)
    assert spec.latent_dim == 5
    model = loaded(spec, data).model
    assert isinstance(model, ImageTextModel)
    assert not isinstance(model, Autoencoder)
    x = data.test.images / 255
    assert torch.equal(model.encode_image(x), model.module.encode_image(x))
    assert torch.equal(model.encode_text(("a", "bc")), model.module.encode_text(["a", "bc"]))


def test_the_checkpoint_s_weights_are_those_measured(data, folder):
    resolved("mine:Plain", data, folder)
    source = module("mine").Plain()
    (folder / "weights").mkdir()
    safetensors.torch.save_model(source, str(folder / "weights" / "mine.safetensors"))
    spec = resolved("mine:Plain", data, folder, checkpoint="weights/mine.safetensors")
    for seed in (0, 1):
        model = loaded(spec, data, seed).model
        assert torch.equal(model.module.down.weight, source.down.weight)
    again = checkpoint.load(loaded(spec, data).folder)
    assert torch.equal(again.model.module.down.weight, source.down.weight)
    assert again.card.spec == spec


def test_other_weights_are_another_case_under_the_same_name(data, folder):
    digests = set()
    for value in (1.0, 2.0):
        resolved("mine:Plain", data, folder)
        source = module("mine").Plain()
        torch.nn.init.constant_(source.up.bias, value)
        safetensors.torch.save_model(source, str(folder / "w.safetensors"))
        spec = resolved("mine:Plain", data, folder, checkpoint="w.safetensors")
        digests.add(spec.checkpoint_sha256)
        assert (loaded(spec, data).model.module.up.bias == value).all()
    assert len(digests) == 2


def test_without_a_checkpoint_all_seeds_share_the_built_weights(data, folder):
    spec = resolved("mine:Plain", data, folder)
    assert spec == resolved("mine:Plain", data, folder)
    models = [loaded(spec, data, seed).model.module for seed in (0, 1)]
    assert torch.equal(models[0].down.weight, models[1].down.weight)
    assert spec.checkpoint_sha256 == state_dicts.fingerprint(models[0].state_dict())

    before = torch.random.get_rng_state()
    text = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(text.replace("nn.Linear(latent, 64)", "nn.Linear(latent, 64, False)"))
    del sys.modules["mine"]
    changed = resolved("mine:Plain", data, folder)
    assert changed.checkpoint_sha256 != spec.checkpoint_sha256
    assert changed.code_sha256 != spec.code_sha256
    assert torch.equal(torch.random.get_rng_state(), before)


def test_tied_weights_come_through_the_cache(data, folder):
    spec = resolved("mine:Tied", data, folder)
    first = loaded(spec, data)
    model = checkpoint.load(first.folder).model.module
    assert model.up.weight is model.down.weight
    assert torch.equal(model.up.weight, first.model.module.up.weight)


def test_keywords_are_passed_on(data, folder):
    spec = resolved("mine:Plain", data, folder, kwargs={"latent": 7}, name="my-vae")
    assert spec.latent_dim == 7
    assert spec.label == "my-vae-7"
    assert spec.series == "my-vae"
    assert resolved("mine:Plain.wide", data, folder).label == "wide-12"


def test_what_the_suite_says_already_is_checked(data, folder):
    right = resolved("mine:Plain", data, folder, latent_dim=3)
    assert zoo.resolve(right, data, Resolver(folder)) == right
    assert refusal("mine:Plain", data, folder, latent_dim=4).startswith("mine:Plain: latent_dim is 3, not 4")
    assert "checkpoint_sha256 is" in refusal("mine:Plain", data, folder, checkpoint_sha256="0" * 64)


def test_a_spec_that_was_not_resolved_is_not_trained(data, folder):
    resolved("mine:Plain", data, folder)
    with pytest.raises(LatentbenchError, match=r"weights unknown; call zoo\.resolve on the spec"):
        loaded(spec_of("mine:Plain"), data)


def test_a_spec_is_json_both_ways_and_travels_between_processes(data, folder):
    class Holder(BaseModel):
        spec: AnySpec

    spec = resolved("mine:Plain", data, folder, kwargs={"latent": 4}, name="x y")
    text = Holder(spec=spec).model_dump_json()
    assert json.loads(text)["spec"]["import"] == "mine:Plain"
    again = Holder.model_validate_json(text).spec
    assert again == spec
    assert type(again) is type(spec)
    assert hash(again) == hash(spec)
    assert again.label == "x y-4"
    assert pickle.loads(pickle.dumps(spec)) == spec


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
def test_what_is_wrong_with_a_model_is_one_line(attribute, message, data, tmp_path):
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
def test_what_cannot_be_imported_says_what_there_is(target, message, data, folder):
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


def test_a_pickled_checkpoint_takes_the_flag(data, folder):
    resolved("mine:Plain", data, folder)
    source = module("mine").Plain()
    torch.save({"state_dict": source.state_dict()}, folder / "w.pt")
    assert "--allow-pickle" in refusal("mine:Plain", data, folder, checkpoint="w.pt")
    spec = resolved("mine:Plain", data, folder, checkpoint="w.pt", allow_pickle=True)
    assert torch.equal(loaded(spec, data).model.module.up.bias, source.up.bias)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install(group, **points)`: a package as pip leaves one: its metadata in a folder."""
    site = tmp_path / "site"

    def install(group, **points):
        about = site / "plugin-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        monkeypatch.syspath_prepend(str(site))
        return site

    return install


def test_an_installed_model_goes_by_its_bare_name(install, data, tmp_path):
    site = install("latentbench.models", theirs="plugin_models:Plain", broken="plugin_models:absent")
    (site / "plugin_models.py").write_text(textwrap.dedent(MODULE))
    spec = resolved("theirs", data, tmp_path, kwargs={"latent": 2})
    assert spec.label == "theirs-2"
    assert loaded(spec, data).model.encode(data.test.images / 255).mean.shape == (8, 2)
    assert "unknown installed model 'thiers'; did you mean 'theirs'" in refusal("thiers", data, tmp_path)
    assert "broken (plugin_models:absent): AttributeError" in refusal("broken", data, tmp_path)


FAMILY = """
    from latentbench.models.families.autoencoders.pca import PCA
    from latentbench.models.family import FAMILIES

    @FAMILIES.register("theirs")
    class Theirs(PCA):
        "A third-party family."
"""


def in_a_process(code, site, folder):
    """Return the output of `code` in a new Python, since registered families would otherwise stay."""
    path = f"import sys; sys.path.insert(0, {str(site)!r}); from latentbench.models import zoo; "
    return subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, cwd=folder)


def test_an_installed_family_is_found_by_name(install, tmp_path):
    site = install("latentbench.families", theirs="plugin_family")
    (site / "plugin_family.py").write_text(textwrap.dedent(FAMILY))
    done = in_a_process("print(zoo.model_spec(family='theirs', latent_dim=2).label)", site, tmp_path)
    assert done.stdout == "theirs-2\n", done.stderr


def test_a_broken_installed_family_fails_only_on_use(install, tmp_path):
    site = install("latentbench.families", awful="plugin_awful", theirs="plugin_family")
    (site / "plugin_family.py").write_text(textwrap.dedent(FAMILY))
    (site / "plugin_awful.py").write_text("import not_there\n")
    good = in_a_process("print(zoo.model_spec(family='theirs', latent_dim=2).label)", site, tmp_path)
    assert good.stdout == "theirs-2\n", good.stderr
    bad = in_a_process("zoo.model_spec(family='awful', latent_dim=2)", site, tmp_path)
    assert "entry point 'plugin_awful' fails with ModuleNotFoundError" in bad.stderr


def documented(language):
    """The fenced blocks of one language in the page on your own model."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_documented_pythae_model_measures_what_pythae_says(tmp_path):
    (tmp_path / "my_vae.py").write_text(documented("python")[0])
    settings = yaml.safe_load(documented("yaml")[0])["models"][0]
    images = torch.randint(
        0, 256, (64, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    mnist = ImageData("noise", Split(images, None), Split(images, None), ())
    resolve_object.make_importable(tmp_path)
    theirs = resolve_object.find(settings["import"])()
    # Pythae reconstructs from a draw of the code; without spread that is decode(mean), which is what we do.
    torch.nn.init.zeros_(theirs.vae.encoder.log_var.weight)
    torch.nn.init.constant_(theirs.vae.encoder.log_var.bias, -80.0)
    safetensors.torch.save_model(theirs, str(tmp_path / settings["checkpoint"]))

    spec = zoo.resolve(zoo.model_spec(**settings), mnist, Resolver(tmp_path))
    assert spec.label == "my-vae-16"
    subject = Subject(loaded(spec, mnist).model, DataContext(mnist), seed=0)
    x = images / 255
    with torch.no_grad():
        expected = (theirs.vae.eval().reconstruct(x) - x).square().mean().item()
    mse = ANALYSES["reconstruction"].measure(subject).metrics[0]
    assert mse.name == "mse"
    assert mse.value == pytest.approx(expected, abs=1e-6)
    assert (subject.test_codes.log_var == -80).all()


def test_an_imported_model_is_not_stacked_and_needs_no_memory(data, folder):
    spec = resolved("mine:Plain", data, folder)
    zoo.check_fits(spec, data.image_shape, "my.yaml")
    trainings = [zoo.Training(spec, Recipe(), seed) for seed in (0, 1)]
    assert not zoo.can_stack(spec)
    assert zoo.stacks(trainings, data.image_shape, memory_bytes=1e9) == [[0], [1]]
