"""Every analysis gives metrics, or nulls with reasons, for data with very few images."""

import pytest
import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.registry import TESTED
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.generation.feature_distances import OF_FEATURES
from latentbench.analysis.protocols.by_protocol import OF_PROTOCOLS
from latentbench.data.images import ImageData, Split


def rows(split, kind):
    if kind == "one image":
        return torch.arange(1)
    if kind == "two images":
        return torch.arange(2)
    if kind == "one class":
        return (split.labels == 7).nonzero().squeeze(1)[:40]
    return torch.tensor([int((split.labels == label).nonzero()[0]) for label in range(10)])


def few(data, kind):
    train, test = (
        Split(split.images[chosen], split.labels[chosen])
        for split in (data.train, data.test)
        for chosen in [rows(split, kind)]
    )
    return ImageData(kind, train, test, data.classes)


@pytest.mark.parametrize("kind", ["one image", "two images", "one class", "one image per class"])
@pytest.mark.parametrize(
    "name",
    [
        # Controls train two dozen networks for any number of images.
        pytest.param(name, marks=[pytest.mark.slow] if name == "controls" else [])
        for name, each in ANALYSES.items()
        # Features and protocols have to be requested, and are tested with few images where they are measured.
        if not each.exclusive and name not in (*OF_FEATURES, OF_PROTOCOLS)
    ],
)
def test_few_images_are_measured_or_null(vae, context, name, kind):
    subject = Subject(vae.model, DataContext(few(context.data, kind), context.judges), seed=0)
    measurement = ANALYSES[name].measure(subject)
    always = [metric.name for metric in ANALYSES[name].metrics if metric.per is None]
    assert [metric.name for metric in measurement.metrics] == always
    assert all(metric.value is not None or metric.reason for metric in measurement.metrics)
    # Workers share the pass over the test images only for an analysis that says that it uses the pass.
    assert TESTED in ANALYSES[name].passes or not {"tested", "_encoded"} & vars(subject).keys()
