"""The latent space: dead zones, intrinsic dimension, maps and probes."""
