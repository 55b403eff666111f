"""The stages of a case: training, timing and measuring, each of which may run in a worker process."""
