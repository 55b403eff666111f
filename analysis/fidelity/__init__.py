"""Fidelity and diversity of a set of images or codes against a real one, as formulas."""
