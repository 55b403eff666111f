"""Models that a user names in a suite are measured alike."""

import copy
import json
import pickle
import re
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from pydantic import BaseModel
from shared.user_modules import loaded, module, refusal, resolved, spec_of

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.generation.feature_distances import OF_FEATURES
from latentbench.analysis.protocols.by_protocol import OF_PROTOCOLS
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import checkpoint, zoo
from latentbench.models.external import state_dicts
from latentbench.models.family import AnySpec
from latentbench.models.protocols import Autoencoder, ImageTextModel
from latentbench.models.resolver import Resolver
from latentbench.models.source_code import resolve_object
from latentbench.models.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("apart")


PAGE = Path(__file__).parents[3] / "docs" / "own_model.md"


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
        if not each.exclusive and name not in ("importance", *OF_FEATURES, OF_PROTOCOLS):
            metrics = {metric.name: metric for metric in each.measure(subject).metrics}
            assert list(metrics) == [metric.name for metric in each.metrics if metric.per is None]
            if name == "reconstruction":
                assert metrics["mse"].value > 0
            if name == "code":
                assert metrics["code_values"].value == torch.Size(shape or (3,)).numel()
                assert metrics["compression"].value == 64 / metrics["code_values"].value


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
def test_module_is_measured_with_any_form_of_code(target, width, stochastic, data, folder):
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
