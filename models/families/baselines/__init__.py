"""Encoders that learned nothing: they show the value of a code metric without any training."""
