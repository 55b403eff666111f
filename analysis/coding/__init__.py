"""Codes as files: quantised, entropy-coded and measured in bits; and the cost of computing them."""
