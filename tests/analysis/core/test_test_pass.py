"""One pass over the test images: what is kept is bounded, and shards give what one pass gives."""

import pytest
import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core import data_context
from latentbench.analysis.core import subject as subjects
from latentbench.analysis.core import test_pass as passes
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.core.test_pass import TestPass
from latentbench.data.images import ImageData, Split
from latentbench.models.family import find_family
from latentbench.models.zoo import model_spec

COUNT = 1009
OF_TEST_IMAGES = ["reconstruction", "code", "likelihood", "codebook", "sampling", "coverage", "probe"]


@pytest.fixture(scope="module")
def context_of_1009(mnist, context):
    test = Split(mnist.test.images[:COUNT], mnist.test.labels[:COUNT])
    train = Split(mnist.train.images[:500], mnist.train.labels[:500])
    return DataContext(ImageData("mnist-1009", train, test, mnist.classes), context.judges)


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of 127 images: no number of shards divides 1,009 images or their 8 batches of 127."""
    monkeypatch.setattr(data_context, "BATCH_VALUES", 127 * 784)


def grid_vae():
    torch.manual_seed(0)
    spec = model_spec(family="vae", latent_dim=2, backbone="conv", hidden=4, code="grid")
    return find_family("vae").build(spec, (1, 28, 28)).eval()


def measured(subject):
    found = [metric for name in OF_TEST_IMAGES for metric in ANALYSES[name].measure(subject).metrics]
    return {metric.name: metric for metric in found}


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("shards", [2, 3])
def test_shards_give_the_values_of_one_pass(shards, context_of_1009, vae):
    model = grid_vae() if shards == 3 else vae.model
    whole, parts = (Subject(model, context_of_1009, seed=0) for _ in range(2))
    passed = [parts.pass_over(k, shards) for k in range(shards)]
    counts = [part.count for part in passed]
    assert sum(counts) == COUNT
    assert len(set(counts)) > 1
    parts.tested = TestPass.joined(passed)
    expected = measured(whole)
    for name, found in measured(parts).items():
        assert found.reason == expected[name].reason
        if found.value is not None:
            assert found.value == pytest.approx(expected[name].value, rel=1e-9), name


@pytest.mark.usefixtures("small_batches")
def test_large_codes_are_kept_of_the_first_images(context_of_1009, monkeypatch):
    monkeypatch.setattr(passes, "KEPT_IN_POSITIONS", 300 * 2 * 7 * 7)
    subject = Subject(grid_vae(), context_of_1009, seed=0)
    passed = subject.tested
    assert passed.count == len(passed.kl) == len(passed.errors.mse) == COUNT
    assert passed.codes.mean.shape == (300, 2, 7, 7)
    torch.testing.assert_close(passed.codes.mean, subject.encode(subject.data.test.images[:300]).mean)
    joined = TestPass.joined([subject.pass_over(k, 3) for k in range(3)])
    assert torch.equal(joined.codes.mean, passed.codes.mean)
    assert len(subject.train_codes.mean) == 300
    rate = {metric.name: metric for metric in ANALYSES["likelihood"].measure(subject).metrics}
    assert rate["kl"].n == rate["elbo_gaussian"].n == COUNT
    assert rate["active_units"].n == 300


def test_a_pass_encodes_and_decodes_each_image_once(context_of_1009):
    calls = {"encode": 0, "decode": 0}

    class Counted:
        def encode(self, x):
            calls["encode"] += len(x)
            return model.encode(x)

        def decode(self, z):
            calls["decode"] += len(z)
            return model.decode(z)

    model = grid_vae()
    subject = Subject(Counted(), context_of_1009, seed=0)
    assert subject.tested.count == COUNT
    assert subject.test_codes.mean.shape[0] == COUNT
    assert calls == {"encode": COUNT, "decode": COUNT}


def test_codes_of_grids_are_drawn_in_parts(context_of_1009, monkeypatch):
    monkeypatch.setattr(subjects, "DRAWN", 48)
    subject = Subject(grid_vae(), context_of_1009, seed=0)
    at_once = subject.train_codes.rsample(generator=subject.generator("codes"))
    assert torch.equal(subject.code_samples, at_once)


def test_only_test_images_are_encoded_once(context_of_1009):
    data = context_of_1009.data
    subject = Subject(
        grid_vae(), DataContext(ImageData("test only", data.test, data.test, data.classes)), seed=0
    )
    assert subject.train_codes.mean.data_ptr() == subject.test_codes.mean.data_ptr()
    assert len(subject.train_codes.mean) == COUNT


def test_a_shard_without_images_is_refused(context_of_1009, vae):
    with pytest.raises(ValueError, match="shard 0 of 5 has none of the batches"):
        Subject(vae.model, context_of_1009, seed=0).pass_over(0, 5)
