"""The gate on speed: two revisions timed in turns."""
