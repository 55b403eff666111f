"""Comparing two runs. `compare` has the rule that decides "regressed", `policy` its thresholds."""
