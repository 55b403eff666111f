"""Autoencoders with discrete codes."""
