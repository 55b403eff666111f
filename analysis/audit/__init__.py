"""A published battery of sanity checks for measures of fidelity and diversity."""
