"""Encoders that learned nothing: what a metric of codes is without any training."""
