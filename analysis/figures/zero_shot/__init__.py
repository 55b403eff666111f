"""Figures of zero-shot classification."""
