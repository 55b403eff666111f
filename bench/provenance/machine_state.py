"""The state of the machine during a timing: clocks, throttling, and other users of the device.

Values that a machine does not report (most virtual ones report nothing of their clocks) are null. NVIDIA's
management library reports on GPUs if the extra `gpu` is installed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psutil
from pydantic import BaseModel, ConfigDict

from latentbench.analysis.performance.contention import ProcessorWatch
from latentbench.data.errors import missing_package

if TYPE_CHECKING:
    import torch

BUSY = 0.05
"""The share of the processor that others may use before a row is marked."""

THROTTLED = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""The reasons of NVML for a lower clock that reduce speed; idleness and chosen clocks do not."""

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class GpuState(BaseModel):
    """A GPU as its driver describes it; null if it does not report a value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    driver: str | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    other_processes: int | None = None


class Conditions(BaseModel):
    """The machine while a row was timed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    load_average: float | None
    """Load average over the last minute."""
    others_share: float
    """Processor time that other processes and other virtual machines used, as a share of all cores."""
    frequency_mhz: float | None
    governor: str | None
    gpu: GpuState | None = None
    gpu_unknown: str | None = None
    """The reason why nothing is known of the GPU in use."""

    @property
    def marks(self) -> tuple[str, ...]:
        """The reasons why the row's timing is doubtful; empty on a quiet, cool machine."""
        marks = []
        if self.others_share > BUSY:
            marks.append(f"busy: others took {self.others_share:.0%} of the processor")
        if self.gpu is not None and self.gpu.throttle_reasons:
            marks.append(f"throttled: {', '.join(self.gpu.throttle_reasons)}")
        if self.gpu is not None and self.gpu.other_processes:
            others = self.gpu.other_processes
            marks.append(f"shared: {others} other process{'es' if others > 1 else ''} on the device")
        return tuple(marks)


class Observer:
    """Observes the machine from its construction until `conditions` is called."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._watch = ProcessorWatch()

    def conditions(self) -> Conditions:
        """Return what was observed; a GPU is described as it is now, still warm."""
        gpu = gpu_state(self.device) if self.device.type == "cuda" else None
        return Conditions(
            load_average=_load_average(),
            others_share=self._watch.contention(threads=1).others_share,
            frequency_mhz=_frequency(),
            governor=_governor(),
            gpu=gpu if isinstance(gpu, GpuState) else None,
            gpu_unknown=gpu if isinstance(gpu, str) else None,
        )


def throttle_reasons(bits: int) -> tuple[str, ...]:
    """Translate NVML's bit mask into words.

    >>> throttle_reasons(0x04 | 0x01)
    ('power cap',)
    """
    return tuple(words for bit, words in THROTTLED.items() if bits & bit)


def gpu_state(device: torch.device) -> GpuState | str:
    """Return the GPU behind a CUDA device, or the reason why nothing is known of it."""
    try:
        import pynvml
    except ImportError:
        return missing_package("the state of a GPU", "nvidia-ml-py", "gpu")
    import torch

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"NVML: {error}"
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return _read(pynvml, handle)
    except pynvml.NVMLError as error:
        return f"NVML: {error}"
    finally:
        pynvml.nvmlShutdown()


def _read(nvml: ModuleType, handle: Any) -> GpuState:
    """Read every fact separately: a card may report one and not another."""

    def ask(function: str, *arguments: Any) -> Any:
        with suppress(nvml.NVMLError, AttributeError):
            return getattr(nvml, function)(*arguments)
        return None

    def watts(milliwatts: int | None) -> float | None:
        return None if milliwatts is None else milliwatts / 1000

    processes: Sequence[Any] | None = ask("nvmlDeviceGetComputeRunningProcesses", handle)
    return GpuState(
        driver=ask("nvmlSystemGetDriverVersion"),
        sm_clock_mhz=ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
        memory_clock_mhz=ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM),
        temperature_celsius=ask("nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
        power_watts=watts(ask("nvmlDeviceGetPowerUsage", handle)),
        power_limit_watts=watts(ask("nvmlDeviceGetEnforcedPowerLimit", handle)),
        throttle_reasons=throttle_reasons(ask("nvmlDeviceGetCurrentClocksEventReasons", handle) or 0),
        # One of them is this one, with another number outside of a container.
        other_processes=None if processes is None else max(0, len(processes) - 1),
    )


def _load_average() -> float | None:
    with suppress(OSError):
        return os.getloadavg()[0]
    return None


def _frequency() -> float | None:
    with suppress(OSError, NotImplementedError):
        frequency = psutil.cpu_freq()
        return float(frequency.current) if frequency else None
    return None


def _governor() -> str | None:
    with suppress(OSError):
        return GOVERNOR.read_text(encoding="utf-8").strip()
    return None
