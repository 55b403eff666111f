"""Running a suite: cases, stages and worker processes."""
