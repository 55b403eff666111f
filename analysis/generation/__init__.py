"""Sampling: sources of codes, and the quality of their decoded images."""
