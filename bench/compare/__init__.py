"""Comparing two runs: matching, significance and verdicts."""
