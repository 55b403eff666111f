"""The ledger of a training: what its objective returned at every step, and the history made from it."""

from __future__ import annotations

import torch
from torch import Tensor

from latentbench.models.training.history import Diverged, History, Terms, steps_per_row


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
