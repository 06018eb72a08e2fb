"""Clusters, one file per kind of target; they call the commands of Ray, Kubernetes and Slurm."""
