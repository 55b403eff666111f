"""Count what a call computes, moves and holds, from the shapes of its tensors.

Nothing is measured, so a count is the same on every machine; on the `meta` device nothing is computed
either, and a batch may be counted that no memory would hold.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


@dataclass(frozen=True)
class Count:
    """The floating-point operations, bytes moved, and bytes held at the peak of one call.

    A multiplication and an addition are two operations; those of matrix products, convolutions and
    attention are counted. `moved_bytes` are what the operators read and write, each separately, as if
    nothing stayed in a cache and nothing were fused; views are free. `held_bytes` are the tensors that the
    call makes and that are alive at once, so neither the model nor its input.
    """

    flops: int
    moved_bytes: int
    held_bytes: int

    @property
    def intensity(self) -> float:
        """Floating-point operations per byte moved: the model's position on the axis of a roofline."""
        return self.flops / self.moved_bytes


def count(call: Callable[[], object], *, gradients: bool = False) -> Count:
    """Count one call; with `gradients`, the tensors for a backward pass are kept and so counted as held.

    Operations are counted with gradients enabled in any case: under `inference_mode` torch takes fused
    paths for attention that its counter does not know, and a small ViT would get half its work.
    """
    from torch.utils.flop_counter import FlopCounterMode  # slow to import, and needed only to count

    corrected = {torch.ops.aten.convolution_backward: _convolution_backward_flops}
    flops = FlopCounterMode(display=False, custom_mapping=corrected)
    with torch.inference_mode(False), torch.enable_grad(), flops:
        call()
    with torch.inference_mode(False), torch.set_grad_enabled(gradients), _Ledger() as ledger:
        call()
    return Count(flops.get_total_flops(), ledger.moved, ledger.most_held)


def _convolution_backward_flops(
    grad_output: Sequence[int],
    given: Sequence[int],
    weight: Sequence[int],
    bias: object,
    stride: object,
    padding: object,
    dilation: object,
    transposed: bool,
    output_padding: object,
    groups: int,
    output_mask: Sequence[bool],
    **_: object,
) -> int:
    """Count a convolution's backward pass: each of its two gradients takes as many products as forward.

    torch's own count ignores the groups in the weight's gradient, and multiplies the work of a depthwise
    convolution by its number of channels.
    """
    del bias, stride, padding, dilation, output_padding, groups
    # Each weight meets every position of the smaller side once: a convolution's output, or a widened input.
    positions = math.prod((given if transposed else grad_output)[2:])
    return 2 * grad_output[0] * positions * math.prod(weight) * sum(output_mask[:2])


class _Ledger(TorchDispatchMode):
    """Adds up the reads and writes of every operator, and follows every storage until its end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved = 0
        self.held = 0
        self.most_held = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        given, made = list(_tensors((args, kwargs))), list(_tensors(result))
        if not func.is_view:
            self.moved += sum(tensor.nbytes for tensor in given + made)
        known = {tensor.untyped_storage()._cdata for tensor in given} | self._alive
        for tensor in made:
            self._follow(tensor, known)
        return result

    def _follow(self, tensor: Tensor, known: set[int]) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in known:
            return
        self._alive.add(storage._cdata)
        self.held += storage.nbytes()
        self.most_held = max(self.most_held, self.held)
        weakref.finalize(storage, self._ended, storage._cdata, storage.nbytes())

    def _ended(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.held -= size


def _tensors(values: object) -> Iterator[Tensor]:
    return (value for value in tree_iter(values) if isinstance(value, Tensor))
