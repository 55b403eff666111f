"""Storage: files written whole or not at all, the cache, temporary files, and results in memory."""
