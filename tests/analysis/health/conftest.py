"""Images and models whose health is known exactly."""

import pytest
import torch

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.data.images import ImageData, Split
from latentbench.models.protocols import Posterior


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Identity:
    """The pixels as a grid; `encode` and `decode` change nothing."""

    def encode(self, x):
        return Posterior(x)

    def decode(self, z):
        return z


class Pooling:
    """A tokenizer that averages blocks of pixels, for images of any size."""

    def __init__(self, block=4):
        self.block = block

    def encode(self, x):
        return Posterior(torch.nn.functional.avg_pool2d(x, self.block))

    def decode(self, z):
        return torch.nn.functional.interpolate(z, scale_factor=self.block)


class Rows:
    """Every row of the image as one token."""

    def encode(self, x):
        return Posterior(x.flatten(1, 2))

    def decode(self, z):
        return z.unsqueeze(1)


@pytest.fixture
def subject_with():
    """Measure a model on random colour images of 32 px, without labels."""

    def make(model, images=None, count=60):
        if images is None:
            images = torch.randint(
                256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
            )
        split = Split(images, None)
        return Subject(model, DataContext(ImageData("random", split, split, ())), seed=0)

    return make
