"""Deterministic autoencoders and PCA."""
