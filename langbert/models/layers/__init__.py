"""What networks are made of: torch and nothing else."""
