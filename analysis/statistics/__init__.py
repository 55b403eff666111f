"""Confidence intervals, moments, nearest neighbours and Pareto fronts."""
