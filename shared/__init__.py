"""What the API, the workers and the command line must agree on, and nothing else."""
