"""Figures of the health of latent spaces."""
