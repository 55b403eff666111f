"""Records: their fields, their lines on disk, and their results for each test image."""
