"""A small state dict, and the refusal of a file."""

import pytest
import torch

from latentbench.data.errors import LatentbenchError
from latentbench.models.external import state_dicts

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.0, -1.0])}


def refusal(path, **how):
    with pytest.raises(LatentbenchError) as caught:
        state_dicts.read(path, **how)
    message = str(caught.value)
    assert message.startswith("checkpoint weights.bin: ")
    assert "\n" not in message
    return message
