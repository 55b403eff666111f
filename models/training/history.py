"""The history of a training: one number per step and term."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Terms = dict[str, np.ndarray]

PROFILE_ROWS = 512
"""The largest number of rows for a term with one value per dimension; each row is a mean over steps."""


@dataclass(frozen=True)
class History:
    """Per-step terms of the objective, float32 `[steps]` each, such as `loss`, `reconstruction`, `kl`.

    `profiles` are the terms that have a value for each dimension, such as `kl_per_dim`: float16
    `[rows, D]`, each row the mean over `steps_per_row(steps)` steps. A closed form has neither. Units are the
    objective's own: nats per image for likelihoods; `gradient_norm` is the Euclidean norm over all
    parameters.
    """

    terms: Terms = field(default_factory=dict)
    profiles: Terms = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.terms.values()), ()))

    def arrays(self) -> Terms:
        """Return terms and profiles by name, as they are stored."""
        return {**self.terms, **self.profiles}

    def narrowed(self, width: int) -> History:
        """Return the history without the dimensions that a stack's padding adds to the profiles."""
        return History(self.terms, {name: rows[:, :width] for name, rows in self.profiles.items()})

    @classmethod
    def of_arrays(cls, arrays: Terms) -> History:
        """Restore a history from its `arrays`."""
        return cls(
            {name: array for name, array in arrays.items() if array.ndim == 1},
            {name: array for name, array in arrays.items() if array.ndim == 2},
        )


def steps_per_row(steps: int) -> int:
    """Return the number of steps that each row of a profile covers, except the last row.

    >>> steps_per_row(100), steps_per_row(512), steps_per_row(513)
    (1, 1, 2)
    """
    return max(1, -(-steps // PROFILE_ROWS))


class Diverged(Exception):
    """The error of a training whose loss is no longer finite; it carries the history up to that step."""

    def __init__(self, step: int, history: History) -> None:
        self.step = step
        self.history = history
        super().__init__(f"the loss was not finite at step {step}")
