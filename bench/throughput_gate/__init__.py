"""The throughput gate: two revisions timed in turns."""
