"""Published data sets that are loaded by name: one file for each source."""
