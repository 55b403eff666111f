"""The names of classes that several modules use: digits, and the clothes of Fashion-MNIST."""

from __future__ import annotations

DIGITS = tuple("0123456789")
GARMENTS = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
