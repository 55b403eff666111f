"""The history of a training, one number per step and term, and the ledger that it is made from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

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


class Ledger:
    """Every term of every member at every step, on the device; read once per epoch."""

    def __init__(self, members: int, steps: int, device: torch.device) -> None:
        self.members, self.steps, self.device = members, steps, device
        self.names: list[str] = []
        self.scalars = torch.empty(0)
        """`[members, names, steps]`."""
        self.profiles: dict[str, Tensor] = {}
        """`[members, rows, D]` each: sums over the steps of a row."""
        self.active: Tensor | slice = slice(None)
        """The members that are still being trained."""
        self.diverged_at: dict[int, int] = {}
        self.per_row = steps_per_row(steps)
        self.written = 0

    def write(self, step: int, terms: dict[str, Tensor]) -> None:
        """Store the terms of the active members at a step."""
        if not self.names:
            self._open(terms)
        values = [terms[name].detach().float() for name in self.names]
        self.scalars[self.active, :, step] = torch.stack(values, dim=1)
        for name, rows in self.profiles.items():
            rows[self.active, step // self.per_row] += terms[name].detach()
        self.written = step + 1

    def _open(self, terms: dict[str, Tensor]) -> None:
        self.names = [name for name, term in terms.items() if term.ndim == 1]
        self.scalars = torch.zeros(self.members, len(self.names), self.steps, device=self.device)
        rows = -(-self.steps // self.per_row)
        self.profiles = {
            name: torch.zeros(self.members, rows, term.shape[1], device=self.device)
            for name, term in terms.items()
            if term.ndim == 2
        }

    def close_epoch(self, last: int) -> list[int] | None:
        """Return the positions of the active members that continue; None if all of them do."""
        losses = self.scalars[self.active, self.names.index("loss"), : last + 1]
        finite = torch.isfinite(losses).cpu()
        kept = finite.all(1)
        if bool(kept.all()):
            return None
        active = torch.arange(self.members, device=self.device)[self.active]
        for member, ok in zip(active.tolist(), finite, strict=True):
            if not ok.all():
                self.diverged_at[member] = int((~ok).float().argmax())
        self.active = active[kept.to(self.device)]
        return [int(position) for position in kept.nonzero().flatten()]

    def outcomes(self) -> list[History | Diverged]:
        """Return the outcome of each member."""
        scalars = self.scalars.cpu()
        profiles = {name: values.cpu() for name, values in self.profiles.items()}
        return [self._outcome(member, scalars, profiles) for member in range(self.members)]

    def _outcome(self, member: int, scalars: Tensor, profiles: dict[str, Tensor]) -> History | Diverged:
        steps = self.diverged_at.get(member, self.written)
        full_rows, rest = divmod(steps, self.per_row)
        counts = torch.tensor(full_rows * [self.per_row] + [rest] * (rest > 0)).unsqueeze(1)
        columns = scalars[member, :, :steps].numpy()
        terms: Terms = {name: column.copy() for name, column in zip(self.names, columns, strict=True)}
        rows: Terms = {
            name: (values[member, : len(counts)] / counts).half().numpy() for name, values in profiles.items()
        }
        history = History(terms, rows)
        return history if member not in self.diverged_at else Diverged(steps, history)
