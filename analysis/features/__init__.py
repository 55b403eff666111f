"""Feature extractors for comparing sets of images."""
