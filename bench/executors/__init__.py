"""Executors run units of work: in worker processes of this machine, on a Ray cluster, or in Slurm jobs."""
