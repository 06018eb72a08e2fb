"""Clusters: one file per kind of target; Ray's, Kubernetes' and Slurm's own commands do the work."""
