"""A plugin for recsys by somebody else."""
