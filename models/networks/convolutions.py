"""A convolution that is quick on small maps, where a CPU's general kernels are several times slower.

With few output pixels, a convolution is a matrix product over its patches. The weights, their names and the
result, to rounding, are those of torch's own layer, which computes larger maps and all maps on GPUs.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

FEW_POSITIONS = 16
"""The number of output pixels up to which the matrix product was measured to be faster, mostly in the
backward pass."""


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` of a square kernel, with equal stride and zero padding on both axes."""

    def forward(self, input: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, C', H', W']`."""
        kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in input.shape[2:])
        if input.device.type != "cpu" or height * width > FEW_POSITIONS:
            return super().forward(input)
        patches = F.pad(input, 4 * (padding,)).unfold(2, kernel, stride).unfold(3, kernel, stride)
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(len(input) * height * width, -1)
        out = F.linear(rows, self.weight.flatten(1), self.bias)
        return out.view(len(input), height, width, -1).permute(0, 3, 1, 2)
