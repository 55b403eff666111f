"""Where units of work run: worker processes of this machine, a Ray cluster, or Slurm jobs."""
