"""The results store: records, runs, baselines and their verification."""
