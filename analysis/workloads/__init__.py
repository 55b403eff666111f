"""Timed workloads: what a model is asked to do, what that computes and moves, and how long it takes."""
