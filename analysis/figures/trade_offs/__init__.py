"""Figures of one metric against another."""
