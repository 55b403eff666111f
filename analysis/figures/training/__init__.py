"""Figures of training histories."""
