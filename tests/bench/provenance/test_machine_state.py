"""Other load on the machine is measured with real processes; a driver's bits are read as reasons."""

import os
import subprocess
import sys
import time

import pytest
import torch

from latentbench.bench.provenance.machine_state import (
    Conditions,
    GpuState,
    Observer,
    gpu_state,
    throttle_reasons,
)

CPU = torch.device("cpu")
SPIN = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"


def conditions(**values):
    quiet = {"load_average": 0.1, "others_share": 0.0, "frequency_mhz": None, "governor": None}
    return Conditions(**{**quiet, **values})


def test_another_process_at_work_is_seen():
    with subprocess.Popen([sys.executable, "-c", SPIN]) as spinning:
        time.sleep(0.3)
        observer = Observer(CPU)
        time.sleep(1)
        seen = observer.conditions()
        spinning.kill()
    assert seen.others_share > 0.05
    assert any(mark.startswith("busy: others took ") for mark in seen.marks)
    assert seen.gpu is None


def test_own_work_does_not_count_as_other_work():
    """One core busy with this very process: at most the other cores are left to others."""
    observer, end = Observer(CPU), time.monotonic() + 1
    began = time.process_time()
    while time.monotonic() < end:
        pass
    seen, own = observer.conditions(), time.process_time() - began
    assert seen.others_share < 1.05 - own / os.cpu_count()


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x00, ()),
        (0x01, ()),  # idle
        (0x02 | 0x10, ()),  # clocks set by the user
        (0x04, ("power cap",)),
        (0x20 | 0x40, ("software thermal slowdown", "hardware thermal slowdown")),
    ],
)
def test_only_speed_limits_count_as_throttling(bits, words):
    assert throttle_reasons(bits) == words


def test_the_bits_are_the_drivers():
    nvml = pytest.importorskip("pynvml", reason="nvidia-ml-py, an optional extra, is not installed")
    assert throttle_reasons(nvml.nvmlClocksEventReasonSwPowerCap) == ("power cap",)
    assert throttle_reasons(nvml.nvmlClocksEventReasonHwSlowdown) == ("hardware slowdown",)
    assert throttle_reasons(nvml.nvmlClocksEventReasonSwThermalSlowdown) == ("software thermal slowdown",)
    assert throttle_reasons(nvml.nvmlClocksEventReasonHwThermalSlowdown) == ("hardware thermal slowdown",)
    assert throttle_reasons(nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown) == ("power brake",)
    assert throttle_reasons(nvml.nvmlClocksEventReasonGpuIdle) == ()


def test_a_throttled_and_a_shared_device_are_marked():
    gpu = GpuState(throttle_reasons=("power cap",), other_processes=2)
    assert conditions(gpu=gpu).marks == ("throttled: power cap", "shared: 2 other processes on the device")
    assert conditions(gpu=GpuState(other_processes=0)).marks == ()
    assert conditions().marks == ()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_driver_the_reason_is_kept():
    assert isinstance(gpu_state(torch.device("cuda")), str)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_tells_of_itself():
    state = gpu_state(torch.device("cuda"))
    assert isinstance(state, GpuState)
    assert state.driver
    assert state.sm_clock_mhz > 0
