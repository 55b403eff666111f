"""What training went through: one number per step and term."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class History:
    """Per-step terms of the objective, float32 `[steps]` each, such as `loss`, `reconstruction`, `kl`.

    A closed form has none. Units are the objective's own: nats per image for likelihoods.
    """

    terms: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.terms.values()), ()))


class Diverged(Exception):
    """Training whose loss stopped being finite; carries what was recorded until then."""

    def __init__(self, step: int, history: History) -> None:
        self.step = step
        self.history = history
        super().__init__(f"the loss was not finite at step {step}")
