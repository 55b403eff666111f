"""Readers of image sets: one file for each source."""
