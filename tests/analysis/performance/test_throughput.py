"""Speeds of a model whose calls take known times, and real ones that are null or in doubt with a reason."""

import copy
import subprocess
import sys

import pytest
import torch

from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.performance import throughput, timing
from latentbench.analysis.performance.timing import Timing, timed_when_quiet
from latentbench.models.protocols import Posterior
from latentbench.models.training.recipe import Recipe

ENCODE, DECODE, STEP, SINGLE = 0.04, 0.03, 0.05, 0.02


class Slow:
    """Tells how long its last call took, and remembers the sizes and threads of all calls."""

    def __init__(self):
        self.sizes, self.threads, self.seconds = set(), set(), 0.0

    def _note(self, size, seconds):
        self.sizes.add(size)
        self.threads.add(torch.get_num_threads())
        self.seconds = seconds

    def encode(self, x):
        self._note(len(x), SINGLE if len(x) == 1 else ENCODE)
        return Posterior(x.flatten(1)[:, :2])

    def decode(self, z):
        self._note(len(z), DECODE)
        return z

    def step(self, images):
        assert images.dtype == torch.uint8
        self._note(len(images), STEP)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(timing, "PAUSE_SECONDS", 0.0)


def measured(subject):
    return {metric.name: metric for metric in ANALYSES["throughput"].measure(subject).metrics}


def use_clock(monkeypatch, clock):
    """The analysis with another clock, on a machine that nothing disturbs."""
    monkeypatch.setattr(
        throughput,
        "timed_when_quiet",
        lambda calls, device: timed_when_quiet(calls, device, clock=clock, watch=lambda: None),
    )


def test_speeds_are_those_of_the_calls(context, monkeypatch):
    model = Slow()

    def clock(call):
        call()
        return model.seconds

    use_clock(monkeypatch, clock)
    metrics = measured(Subject(model, context, seed=0, train_step=model.step))
    assert metrics["encode_images_per_second"].value == pytest.approx(256 / ENCODE)
    assert metrics["decode_images_per_second"].value == pytest.approx(256 / DECODE)
    assert metrics["train_step_images_per_second"].value == pytest.approx(256 / STEP)
    assert metrics["encode_latency_seconds"].value == pytest.approx(SINGLE)
    assert metrics["decode_latency_seconds"].value == pytest.approx(DECODE)
    assert model.sizes == {1, 256}
    assert metrics["encode_latency_seconds"].n >= 7
    assert all(metric.doubt is None for metric in metrics.values())


def test_large_images_are_timed_in_smaller_batches(context, monkeypatch):
    model = Slow()
    use_clock(monkeypatch, lambda call: (call(), model.seconds)[1])
    monkeypatch.setattr(throughput, "MOST_VALUES", 10 * 784)
    metrics = measured(Subject(model, context, seed=0, train_step=model.step))
    assert model.sizes == {1, 10}
    assert metrics["encode_images_per_second"].value == pytest.approx(10 / ENCODE)
    assert metrics["train_step_images_per_second"].value == pytest.approx(10 / STEP)


def test_models_are_timed_with_one_thread(context, monkeypatch):
    model, before = Slow(), torch.get_num_threads()
    use_clock(monkeypatch, lambda call: (call(), 0.1)[1])
    torch.set_num_threads(2)
    try:
        measured(Subject(model, context, seed=0, train_step=model.step))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    # The decoder's input is encoded once, inside the block too.
    assert model.threads == {1}


def test_a_disturbed_speed_is_shown_and_decides_nothing(context, monkeypatch):
    monkeypatch.setattr(
        throughput,
        "timed_when_quiet",
        lambda calls, device: {name: Timing((1.0, 2.0, 2.0)) for name in calls},
    )
    model = Slow()
    encode = measured(Subject(model, context, seed=0))["encode_images_per_second"]
    assert (encode.doubt, encode.decisive) == ("contended", None)
    assert encode.value == pytest.approx(256 / 1.2)
    assert "as long as the fastest" in encode.reason


def test_zoo_models_have_every_number_of_a_cpu(vae):
    step = copy.deepcopy(vae.model).train_step(Recipe())
    metrics = measured(Subject(vae.model, vae.context, seed=0, train_step=step))
    memory = metrics.pop("peak_memory_bytes")
    assert memory.value is None
    assert "cpu" in memory.reason
    assert all(metric.value > 0 for metric in metrics.values())
    # Generous, for a busy machine; a wrong unit would be off by 256.
    forward = metrics["encode_images_per_second"].value
    assert metrics["train_step_images_per_second"].value < 10 * forward
    assert 256 / forward < 10 * 256 * metrics["encode_latency_seconds"].value


def test_parameters_count_buffers_too(pca):
    assert throughput.held_values(pca.model) == 784 * 8 + 784
    assert measured(pca)["parameters"].value == 784 * 8 + 784


def test_what_a_model_lacks_is_null_with_the_reason(pca, context):
    assert measured(pca)["train_step_images_per_second"].reason == "no train step"

    class ImagesAndWords:
        def encode_image(self, x):
            return torch.nn.functional.normalize(x.flatten(1), dim=1)

        def encode_text(self, captions):
            raise NotImplementedError

    metrics = measured(Subject(ImagesAndWords(), context, seed=0))
    assert metrics["decode_images_per_second"].reason == "no decoder"
    assert metrics["decode_latency_seconds"].reason == "no decoder"
    assert metrics["parameters"].reason == "ImagesAndWords is not a torch module"
    assert metrics["encode_images_per_second"].value > 0


BUSY = "import os\nwhile os.getppid() == {}: pass"


@pytest.mark.slow
def test_one_busy_core_moves_no_unmarked_speed(vae):
    """Idle and next to a busy process: within 15 %, or in doubt. Needs a machine that is idle itself."""
    import os

    def speeds():
        step = copy.deepcopy(vae.model).train_step(Recipe())
        return measured(Subject(vae.model, vae.context, seed=0, train_step=step))

    idle = speeds()
    with subprocess.Popen([sys.executable, "-c", BUSY.format(os.getpid())]) as process:
        busy = speeds()
        process.kill()
    for name, metric in busy.items():
        if idle[name].decisive and metric.decisive:
            assert metric.value == pytest.approx(idle[name].value, rel=0.15), name
