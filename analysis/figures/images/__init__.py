"""Figures of images: reconstructions and samples."""
