"""Health of a latent space: channels, spectra, equivariance, noise, interpolation, missing mass."""
