"""Measurements: pure functions of tensors and of two small protocols, and figures."""
