"""A row has consistent numbers or a reason, and the sweep continues either way."""

import math

import pytest
import torch
from torch import nn

from latentbench.analysis.performance import number_formats
from latentbench.analysis.performance.memory import free_memory
from latentbench.analysis.performance.point import SweepPoint
from latentbench.analysis.performance.roofline import Peaks
from latentbench.analysis.performance.timing import Effort
from latentbench.analysis.workloads.candidate import Candidate, TimedModel
from latentbench.analysis.workloads.measure import Patience, WorkloadPlace, measure
from latentbench.analysis.workloads.sweep_metrics import SWEEP_METRICS
from latentbench.models.zoo import FAMILIES, model_spec

CPU = torch.device("cpu")
SHAPE = (1, 28, 28)
ROOF = Peaks({"fp32": 1e12, "bf16": 2e12}, 1e11)
QUICK = Patience(Effort(repetitions=3, seconds=0.0), longest_call_seconds=5.0)
PLACE = WorkloadPlace(CPU, ROOF, QUICK)


def candidate(**settings):
    spec = model_spec(**settings)
    return Candidate(
        TimedModel(lambda: FAMILIES[spec.family].build(spec, SHAPE).eval(), SHAPE, spec.latent_dim)
    )


@pytest.fixture(scope="module")
def vae():
    return candidate(family="vae", latent_dim=4, hidden=64)


def row(model, operation="encode", batch=2, *, place=PLACE, expected_seconds=None, **way):
    point = SweepPoint(operation=operation, batch=batch, **way)
    return measure(model, point, place, expected_seconds=expected_seconds)


def values(result):
    return {metric.name: metric.value for metric in result.metrics}


@pytest.mark.parametrize("operation", ["encode", "decode", "train_step"])
def test_the_numbers_of_a_row_fit_each_other(vae, operation):
    result = row(vae, operation, batch=8)
    assert result.outcome == "ok", result.reason
    assert [metric.name for metric in result.metrics] == [metric.name for metric in SWEEP_METRICS]
    found = values(result)
    assert found["examples_per_second"] == pytest.approx(8 / found["latency_seconds"])
    done = 8 * found["flops_per_example"] / found["latency_seconds"]
    assert found["flops_per_second"] == pytest.approx(done)
    assert found["share_of_peak"] == pytest.approx(done / 1e12)
    assert found["share_of_bandwidth"] == pytest.approx(found["bytes_per_second"] / 1e11)
    assert found["input_ratio"] == (None if operation == "train_step" else 784 / 4)


def test_a_row_of_few_repetitions_has_no_tail(vae):
    tail = {metric.name: metric for metric in row(vae).metrics}["latency_p99_seconds"]
    assert tail.value is None
    assert "needs 100 repetitions" in tail.reason
    patient = WorkloadPlace(CPU, ROOF, Patience(Effort(repetitions=100, seconds=0), 5.0))
    found = values(row(vae, place=patient))
    assert found["latency_seconds"] <= found["latency_p95_seconds"] <= found["latency_p99_seconds"]


def test_flops_do_not_depend_on_the_batch_nor_the_precision(vae):
    """Encoder 784–64–8, two operations for each weight."""
    expected = 2 * (784 * 64 + 64 * 8)
    assert values(row(vae, batch=1))["flops_per_example"] == expected
    assert values(row(vae, batch=16, precision="bf16"))["flops_per_example"] == expected


def test_a_train_step_is_forward_and_twice_that_backward(vae):
    forward = values(row(vae))["flops_per_example"] + values(row(vae, "decode"))["flops_per_example"]
    # But for the first layer, whose input needs no gradient.
    assert values(row(vae, "train_step"))["flops_per_example"] == 3 * forward - 2 * 784 * 64


@pytest.mark.parametrize(
    ("settings", "operation", "way", "reason"),
    [
        ({"family": "clip", "latent_dim": 8}, "decode", {}, "no decoder"),
        ({"family": "pca", "latent_dim": 4}, "train_step", {}, "no train step"),
        ({"family": "pca", "latent_dim": 4}, "encode_text", {}, "no text encoder"),
        (
            {"family": "pca", "latent_dim": 4},
            "encode",
            {"precision": "tf32"},
            "tf32 is a mode of CUDA devices",
        ),
        ({"family": "pca", "latent_dim": 4}, "encode", {"channels_last": True}, "no convolution"),
        ({"family": "vae", "latent_dim": 4}, "train_step", {"precision": "fp16"}, "fp16"),
    ],
)
def test_unsupported_case_is_a_row_with_its_reason(settings, operation, way, reason):
    result = row(candidate(**settings), operation, **way)
    assert result.outcome == "skipped"
    assert reason in result.reason
    assert all(metric.value is None and metric.reason for metric in result.metrics)


def test_a_model_that_keeps_float32_inside_is_not_run_in_bf16():
    if number_formats.lacking("bf16", CPU):
        pytest.skip("this processor has no bf16")
    result = row(candidate(family="fsq", latent_dim=4), "decode", precision="bf16")
    assert (result.outcome, "formats" in result.reason) == ("skipped", True)


def test_batch_normalisation_is_not_trained_on_one_image():
    result = row(candidate(family="ae", latent_dim=4, backbone="book"), "train_step", 1)
    assert (result.outcome, "more than one image" in result.reason) == ("skipped", True)


def test_too_large_batch_is_out_of_memory_and_sweep_continues(vae):
    images = 2 * free_memory(CPU) // (4 * 64)  # the hidden layer alone takes twice what is free
    patient = WorkloadPlace(CPU, Peaks({"fp32": math.inf}, 1e11), QUICK)
    result = row(vae, batch=images, place=patient)
    assert result.outcome == "out_of_memory"
    assert "GB are free" in result.reason
    assert row(vae).outcome == "ok"


def test_a_call_that_would_take_too_long_is_not_made(vae):
    slow = WorkloadPlace(CPU, Peaks({"fp32": 1.0}, 1.0), QUICK)
    assert "would take about 101,376 s" in row(vae, batch=1, place=slow).reason  # an operation a second
    result = row(vae, expected_seconds=60.0)
    assert (result.outcome, result.reason) == (
        "skipped",
        "a call would take about 60 s; this preset allows at most 5 s",
    )


class Broken(nn.Module):
    """Encodes on shapes alone, fails with real images."""

    def encode(self, x):
        if x.device.type != "meta":
            raise ValueError("not today")
        return x


def test_unexpected_failure_is_a_failed_row():
    result = row(Candidate(TimedModel(Broken, SHAPE, 4)))
    assert (result.outcome, result.reason) == ("failed", "ValueError: not today")


class LooksAtValues(nn.Module):
    """A model that reads values, which shapes alone do not have."""

    def encode(self, x):
        return x if float(x.sum()) > 0 else -x


def test_model_without_operation_count_is_timed():
    result = row(Candidate(TimedModel(LooksAtValues, SHAPE, 4)))
    metrics = {metric.name: metric for metric in result.metrics}
    assert result.outcome == "ok"
    assert metrics["latency_seconds"].value > 0
    assert metrics["flops_per_example"].value is None
    assert metrics["flops_per_example"].reason.startswith("not counted: ")


def test_training_does_not_change_the_model_that_is_timed_next(vae):
    before = vae.workload(SweepPoint(operation="encode", batch=1), CPU).model.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    row(vae, "train_step")
    after = vae.workload(SweepPoint(operation="encode", batch=1), CPU).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_channels_last_reaches_the_weights():
    model = candidate(family="vae", latent_dim=4, backbone="conv")
    assert row(model, channels_last=True).outcome == "ok"
    kept = model.workload(SweepPoint(operation="encode", batch=1, channels_last=True), CPU).model
    convolutions = [module for module in kept.modules() if isinstance(module, nn.Conv2d)]
    assert any(c.weight.is_contiguous(memory_format=torch.channels_last) for c in convolutions)


@pytest.mark.slow
def test_a_compiled_row_is_timed(vae):
    assert row(vae, compiled=True).outcome == "ok"
    assert row(vae, "train_step", compiled=True).outcome == "ok"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_says_itself_what_does_not_fit(vae):
    device = torch.device("cuda")
    place = WorkloadPlace(device, Peaks({"fp32": math.inf}, 1e12), QUICK)
    images = 2 * free_memory(device) // (4 * 784)
    assert row(vae, batch=images, place=place).outcome == "out_of_memory"
    found = row(vae, batch=64, place=place)
    assert found.outcome == "ok"
    assert values(found)["call_memory_bytes"] > 0
