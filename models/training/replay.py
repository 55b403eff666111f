"""A step on a GPU, recorded once as a CUDA graph and replayed from then on.

Launching the kernels of a small model one by one takes many times longer than running them: a training step
of a two-layer VAE has about a hundred, of a few microseconds each. A graph launches all of them at once. It
runs the same kernels in the same order, so the numbers are those of the steps that it replaces.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from latentbench.data.storage.garbage import no_garbage_collection

Call = Callable[..., dict[str, Tensor]]
"""From tensors of fixed shapes to named tensors of fixed shapes."""

WAITED = ".*synchronizing CUDA operation"
"""What torch says of an operation that waits for the device."""
FIRST_CALLS = 3
"""The calls before the recording. Libraries allocate their working memory in the first; the last shows
whether the call waits for the device."""


class Replay:
    """A call on a GPU that is run `FIRST_CALLS` times, then recorded, then replayed.

    The results of a replay are overwritten by the next one. A call that waits for the device, as a branch on
    a computed value does, cannot be recorded and is run every time. `noises` are all generators that it draws
    from. Use it inside `own_stream`.
    """

    def __init__(self, call: Call, noises: Sequence[Generator]) -> None:
        self.call = call
        self.forget(noises)

    def forget(self, noises: Sequence[Generator]) -> None:
        """Start again, since the call now works on other tensors and draws from these generators."""
        self.noises = noises
        self.calls = 0
        self.waits = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the call's results on inputs of the same shapes every time."""
        if self._graph is None:
            if self.waits or self.calls < FIRST_CALLS:
                return self._run(inputs)
            self._graph = self._recorded(inputs)
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given)
        self._graph.replay()
        return self._outputs

    def _run(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls != FIRST_CALLS:
            return self.call(*inputs)
        with warned_of_waiting() as heard:
            outputs = self.call(*inputs)
        self.waits = bool(heard)
        return outputs

    def _recorded(self, inputs: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        """Record the call, without running it."""
        self._inputs = [tensor.clone() for tensor in inputs]
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(inputs[0].device)
        for noise in self.noises:
            graph.register_generator_state(noise)
        recording = torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")
        # To free an older graph inside the block would end the recording.
        with no_garbage_collection(), recording:
            self._outputs = self.call(*self._inputs)
        return graph


@contextmanager
def warned_of_waiting() -> Iterator[list[warnings.WarningMessage]]:
    """Collect a warning for every operation that waits for the device; others are shown as always."""
    before = torch.cuda.get_sync_debug_mode()
    waited: list[warnings.WarningMessage] = []
    with warnings.catch_warnings(record=True) as heard:
        warnings.filterwarnings("always", message=WAITED)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waited
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for each in heard:
        if re.match(WAITED, str(each.message)):
            waited.append(each)
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Work in a separate CUDA stream, which recording needs; do nothing on a CPU."""
    if device.type != "cuda":
        yield
        return
    outside, inside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    inside.wait_stream(outside)
    with torch.cuda.stream(inside):
        yield
    outside.wait_stream(inside)
