"""Figures of the latent space."""
