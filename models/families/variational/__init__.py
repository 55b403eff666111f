"""Variational autoencoders and their relatives."""
