"""Presenting runs: tables, figures, reports, claims and history."""
