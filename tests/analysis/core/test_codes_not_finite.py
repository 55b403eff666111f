"""Every metric of codes that are not finite is null and states why."""

from dataclasses import replace

import pytest
import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.metric import NOT_FINITE
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.latent.probes import standardise
from latentbench.data.images import ImageData, Split

OF_CODES = ["reconstruction", "likelihood", "codebook", "sampling", "crosschecks", "coverage", "probe"]
OF_CODES += ["zero_shot", "embedding"]


class Diverged:
    """A sound model, but for one image in ten whose code is not a number."""

    def __init__(self, model, value):
        self.model, self.value = model, value

    def encode(self, x):
        posterior = self.model.encode(x)
        mean = posterior.mean.clone()
        mean[::10] = self.value
        return replace(posterior, mean=mean)

    def decode(self, z):
        return self.model.decode(z)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", OF_CODES)
def test_only_metrics_of_images_have_values(name, value, pca, context):
    sound = {metric.name: metric for metric in ANALYSES[name].measure(pca).metrics}
    found = ANALYSES[name].measure(Subject(Diverged(pca.model, value), context, seed=0)).metrics
    lost = [metric for metric in found if metric.value is None]
    assert lost
    assert all(metric.reason for metric in lost)
    for metric in found:
        if metric.value is not None and not metric.name.endswith("_prior"):
            assert metric.value == pytest.approx(sound[metric.name].value), metric.name


class Wordless:
    """A CLIP, but for one image in ten whose vector is not a number."""

    def __init__(self, model):
        self.model = model

    def encode_image(self, x):
        vectors = self.model.encode_image(x).clone()
        vectors[::10] = torch.nan
        return vectors

    def encode_text(self, captions):
        return self.model.encode_text(captions)


@pytest.mark.parametrize("name", ["prompts", "transfer", "zero_shot", "controls"])
def test_prompts_of_non_finite_codes_are_null(name, subject_of, context):
    clip = subject_of("clip", 8, epochs=1)
    found = ANALYSES[name].measure(Subject(Wordless(clip.model), context, seed=0)).metrics
    assert {metric.reason for metric in found} == {NOT_FINITE}


def test_a_probe_of_non_finite_codes_is_refused():
    codes = torch.ones(5, 2)
    with pytest.raises(ValueError, match=NOT_FINITE):
        standardise(codes, codes * torch.nan)


def test_images_of_one_class_have_no_probe(pca, context):
    data = context.data
    one = Split(data.train.images, torch.zeros_like(data.train.labels))
    subject = Subject(pca.model, DataContext(ImageData("one", one, data.test, data.classes)), seed=0)
    metrics = ANALYSES["probe"].measure(subject).metrics
    assert {metric.reason for metric in metrics} == {"all train images have the same class"}
