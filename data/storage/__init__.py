"""What latentbench keeps: files, its cache, temporary files, and results in memory."""
