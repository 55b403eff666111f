"""Speed sweeps: their specification, runner and tables."""
