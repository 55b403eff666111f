"""Losses of image–text models and descriptions of their shared space, as functions of unit vectors.

In a batch of captioned images each caption occurs many times. So each distinct caption is embedded once, and
every image has one of them as its positive: a matching pair is never treated as a negative.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def multi_positive_cross_entropy(logits: Tensor, caption: Tensor) -> Tensor:
    """Compute the cross-entropy of each caption with a batch of images, nats: a scalar.

    `logits` `[T, B]`, `caption` `[B]` in 0 … T−1. The target of a caption is uniform over its images;
    captions without an image in the batch do not count.
    """
    positives = F.one_hot(caption, len(logits)).float().T
    count = positives.sum(1, keepdim=True)
    present = count > 0
    per_caption = -(positives * logits.log_softmax(1)).sum(1, keepdim=True) / count.clamp_min(1)
    return (per_caption * present).sum() / present.sum()


def symmetric_cross_entropy(logits: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
    """Compute CLIP's losses, image to text and text to image, nats (Radford et al. 2021, arXiv:2103.00020).

    `logits` `[B, T]` compare images with distinct captions, `caption` `[B]` is each image's own. If every
    image has a different caption, their mean is open_clip's `ClipLoss`.
    """
    return F.cross_entropy(logits, caption), multi_positive_cross_entropy(logits.T, caption)


def pairwise_sigmoid(logits: Tensor, caption: Tensor) -> Tensor:
    """Compute SigLIP's loss, nats per image (Zhai et al. 2023, arXiv:2303.15343).

    Each pair of an image and a distinct caption, `logits` `[B, T]`, is a binary classification: do they
    match? An image's own caption `[B]` is its one positive; captions are distinct, so no duplicate of it is
    among the negatives. If every image has a different caption, this is open_clip's `SigLipLoss`.
    """
    sign = 2 * F.one_hot(caption, logits.shape[1]).to(logits.dtype) - 1
    return -F.logsigmoid(sign * logits).sum() / len(logits)


def alignment(image: Tensor, text: Tensor) -> Tensor:
    """Compute the mean squared distance of matching pairs, unit vectors `[N, D]` each: a scalar in [0, 4].

    Wang & Isola 2020, arXiv:2005.10242, with α = 2. 0 is best.
    """
    return (image - text).square().sum(1).mean()


def uniformity(points: Tensor) -> Tensor:
    """Compute ln of the mean of exp(−2 ‖u − v‖²) over pairs of unit vectors `[N, D]`: a scalar in [−8, 0].

    Wang & Isola 2020, arXiv:2005.10242, with t = 2, over pairs of different vectors. It is 0 if all vectors
    are equal; the lower it is, the more evenly they cover the sphere.
    """
    value: Tensor = (-2 * off_diagonal(2 - 2 * points @ points.T)).exp().mean().log()
    return value


def off_diagonal(square: Tensor) -> Tensor:
    """Return the values of a square matrix `[N, N]` outside its diagonal, row by row: `[N (N − 1)]`.

    Unlike an index by a mask, this does not wait for the device.

    >>> import torch
    >>> off_diagonal(torch.arange(9).reshape(3, 3)).tolist()
    [1, 2, 3, 5, 6, 7]
    """
    count = len(square)
    return square.flatten()[1:].reshape(count - 1, count + 1)[:, :-1].flatten()


def modality_gap(image: Tensor, text: Tensor) -> Tensor:
    """Compute the distance of the mean image `[N, D]` from the mean text `[M, D]`: a scalar in [0, 2].

    Liang et al. 2022, arXiv:2203.02053.
    """
    gap: Tensor = (image.mean(0) - text.mean(0)).norm()
    return gap
