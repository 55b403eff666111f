"""`measure` gives what a suite gives, takes any model and any images, and explains what it refuses."""

import math

import pytest
import torch
from torch import nn

from latentbench.analysis import measure
from latentbench.analysis.catalogue import ANALYSES
from latentbench.data import load
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models.external.user_module import Imported, ImportSpec
from latentbench.models.protocols import Posterior
from latentbench.models.seeds import derive

SMALL = 400
MODULE = """
import torch
class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = torch.nn.Linear(784, 8), torch.nn.Linear(4, 784)
        self.drop = torch.nn.Dropout()
    def encode(self, x):
        return self.down(self.drop(x.flatten(1))).chunk(2, dim=1)
    def decode(self, z):
        return self.up(z).sigmoid().view(len(z), 1, 28, 28)
"""


def own_class():
    names = {}
    exec(MODULE, names)  # the source is written to a file too, which a suite imports
    return names["Own"]


class Pooled(nn.Module):
    """Means over blocks of 4 x 4 pixels, in a form that the test chooses."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def encode(self, x):
        mean = nn.functional.avg_pool2d(x, 4).flatten(1)
        return self.form(mean)

    def decode(self, z):
        return z.view(-1, 1, 7, 7).repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.fixture(scope="module")
def few(mnist):
    train, test = (Split(part.images[:SMALL], part.labels[:SMALL]) for part in (mnist.train, mnist.test))
    return ImageData("few", train, test, mnist.classes)


@pytest.fixture(scope="module")
def unlabelled(few):
    return ImageData("few", Split(few.train.images, None), Split(few.test.images, None), ())


def test_measure_gives_the_numbers_of_a_suite(unlabelled, tmp_path, monkeypatch):
    (tmp_path / "own_model.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    spec = ImportSpec(**{"family": "import", "import": "own_model:Own"})
    family = Imported.build(spec, unlabelled.image_shape)
    ours = own_class()()
    ours.load_state_dict(family.module.state_dict())
    names = ["reconstruction", "likelihood", "coverage"]
    suite, python = (measure(model, unlabelled, analyses=names, seed=3) for model in (family, ours))
    assert python.metrics == suite.metrics
    assert any(metric.value is not None and metric.se for metric in python.metrics)


@pytest.mark.parametrize(
    "form",
    [lambda mean: mean, lambda mean: (mean, torch.zeros_like(mean)), lambda mean: Posterior(mean)],
    ids=["tensor", "pair", "posterior"],
)
def test_encode_may_return_any_form_of_a_code(unlabelled, form):
    result = measure(Pooled(form), unlabelled, analyses="reconstruction")
    images = unlabelled.test.images.float() / 255
    model = Pooled(lambda mean: mean)
    expected = (images - model.decode(model.encode(images))).square().mean().item()
    assert result["mse"].value == pytest.approx(expected, rel=1e-5)
    assert result["mse"].n == SMALL


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_images_may_be_a_tensor(unlabelled, dtype):
    images = unlabelled.test.images
    given = images if dtype == torch.uint8 else images.to(dtype) / 255
    model = Pooled(lambda mean: mean)
    expected = measure(model, unlabelled, analyses="reconstruction")["mse"]
    assert measure(model, given, analyses="reconstruction")["mse"] == expected


def test_default_analyses_are_those_of_a_suite(unlabelled):
    result = measure(Pooled(lambda mean: mean), unlabelled)
    expected = {name for name, each in ANALYSES.items() if not (each.opt_in or each.exclusive)}
    assert set(result.measurements) == expected
    assert result["frechet_prior"].reason == "no judge: the data has no labels to train one on"


def test_mode_of_the_model_is_restored(unlabelled):
    model = own_class()().train()
    model.drop.eval()
    first, again = (measure(model, unlabelled, analyses="reconstruction")["mse"] for _ in range(2))
    assert first == again
    assert model.training
    assert not model.drop.training


def test_images_of_one_data_object_are_judged_once(judges, monkeypatch):
    from latentbench.analysis.one_call import context_of

    monkeypatch.setenv("LATENTBENCH_CACHE", str(judges.parent))
    digits, cpu = load("digits"), torch.device("cpu")
    assert context_of(digits, cpu) is context_of(digits, cpu)
    assert context_of(digits, cpu).judges


def test_zoo_model_keeps_its_likelihood(vae, unlabelled):
    result = measure(vae.model, unlabelled, analyses=["likelihood"])
    assert result["elbo_gaussian"].value is not None or result["elbo_bernoulli"].value is not None
    assert result.model == vae.model.spec.label


def test_seed_drives_the_draws(unlabelled):
    def leak(seed):
        return measure(vae_like, unlabelled, analyses="coverage", seed=seed)["leak_moment"].value

    vae_like = Pooled(lambda mean: (mean, torch.zeros_like(mean)))
    assert leak(0) == leak(0) != leak(1)
    assert derive(0, "measure") != derive(1, "measure")


def test_result_prints_values_and_reasons(unlabelled):
    result = measure(Pooled(lambda mean: mean), unlabelled, analyses="reconstruction")
    text = str(result)
    assert "Pooled on few, seed 0" in text
    assert f"{result['mse'].value:.4f}" in text
    assert "not measured (images are smaller than 161 px): ms_ssim" in text
    assert repr(result) == "<Result of Pooled on few, seed 0: 3 of 7 metrics measured>"
    assert "<td>dB</td>" in result._repr_html_()


def test_result_converts_to_pandas(unlabelled):
    result = measure(Pooled(lambda mean: mean), unlabelled, analyses=["reconstruction", "likelihood"])
    frame = result.to_frame()
    assert list(frame.index) == [metric.name for metric in result.metrics]
    assert frame.loc["mse", "value"] == result["mse"].value
    assert frame.loc["mse", "n"] == SMALL
    assert math.isnan(frame.loc["kl", "value"])
    assert frame.loc["kl", "reason"] == "deterministic code: no rate"


def test_a_name_in_brackets_is_printed(unlabelled):
    odd = type("[red]Odd[/x]", (Pooled,), {})(lambda mean: mean)
    assert "[red]Odd[/x] on few" in str(measure(odd, unlabelled, analyses="reconstruction"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"analyses": ["reconstruktion"]},
            "unknown analysis 'reconstruktion'; did you mean 'reconstruction'",
        ),
        ({"analyses": "probes"}, "unknown analysis 'probes'; did you mean 'probe'"),
        ({"device": "gpu"}, "unknown device 'gpu'; allowed: auto, cpu"),
        ({"data": "minst"}, "minst"),
        ({"data": 3}, "data: got int, expected a name, an ImageData or images"),
        ({"data": torch.full((2, 1, 28, 28), 2.0)}, "data: float images must be finite and within"),
        ({"data": torch.full((2, 1, 28, 28), math.nan)}, "data: float images must be finite and within"),
        ({"data": torch.zeros(2, 28, 28)}, r"images must be uint8 \[N, C, H, W\]"),
        ({"model": object()}, "object has no encode, expected encode and decode"),
        (
            {"model": Pooled(lambda mean: mean.view(-1, 7, 7, 1, 1))},
            r"Pooled: encode returned \[2, 7, 7, 1, 1\]",
        ),
        ({"model": Pooled(lambda mean: mean + torch.rand(1))}, "Pooled: encode returned two results"),
        ({"model": Pooled(lambda mean: mean * 3)}, "Pooled: decode returned values from .* within"),
        ({"model": Pooled(lambda mean: mean.missing)}, "Pooled: encode: AttributeError"),
    ],
)
def test_mistakes_are_one_line(unlabelled, arguments, message):
    given = {"model": Pooled(lambda mean: mean), "data": unlabelled, "analyses": "reconstruction"}
    with pytest.raises(LatentbenchError, match=message) as error:
        measure(**(given | arguments))
    assert "\n" not in str(error.value)
