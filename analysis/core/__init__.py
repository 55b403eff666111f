"""Metrics, the registry of analyses, and the subject that an analysis measures."""
