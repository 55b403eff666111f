"""Sampling: where codes come from, and how good their decoded images are."""
