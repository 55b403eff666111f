"""Timed workloads: the calls of a model, the operations and bytes of a call, and its time."""
