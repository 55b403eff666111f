"""The format of results: the fields of a record, its line on disk, and its results for each test image."""
