"""Interpolation: decoded points half-way between codes that are nearest neighbours.

Where they look like images, the space between codes is filled: the Fréchet distance of these midpoints (iFID)
is proposed as a cheap predictor of how well a diffusion model learns a latent space. At α = 0 it is the
distance of the reconstructions (rFID).
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentbench.analysis.statistics.neighbours import nearest

PARALLEL = 1e-4
"""The sine of an angle below which a straight line replaces the arc: the arc's plane is not known there."""


def slerp(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """Interpolate codes `[N, *shape]` on the arc between them: a at α = 0, b at α = 1.

    sin((1 − α)Ω)/sin Ω · a + sin(αΩ)/sin Ω · b, Ω being the angle between the flattened codes (Shoemake
    1985); a straight line for codes of one or of opposite directions, and for a code of zeros.

    >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    tensor([[0.7071, 0.7071]])
    """
    first, second = a.double().flatten(1), b.double().flatten(1)
    lengths = first.norm(dim=1) * second.norm(dim=1)
    cosine = ((first * second).sum(1) / lengths.clamp_min(torch.finfo(torch.float64).tiny)).clamp(-1, 1)
    angle = torch.arccos(cosine)
    sine = angle.sin()
    on_arc = (sine > PARALLEL) & (lengths > 0)
    safe = torch.where(on_arc, sine, 1.0)
    weights = [
        torch.where(on_arc, (share * angle).sin() / safe, torch.full_like(angle, share)).unsqueeze(1)
        for share in (1 - alpha, alpha)
    ]
    return (weights[0] * first + weights[1] * second).to(a.dtype).view_as(a)


def midpoints(codes: Tensor, *, alpha: float = 0.5) -> Tensor:
    """Return the point at α between each of codes `[N, *shape]`, N ≥ 2, and its nearest other code."""
    flat = codes.flatten(1)
    _, neighbour = nearest(flat, flat, 1, exclude_self=True)
    return slerp(codes, codes[neighbour[:, 0]], alpha)
