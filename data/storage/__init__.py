"""What latentbench keeps: files, its cache of files, and results in memory."""
