"""Figures of samples and of learned generators."""
