"""The statements of "Compression Is Understanding" as measurements: their effects, checks and verdicts."""
