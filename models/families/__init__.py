"""The families of compressors, one file for each."""
