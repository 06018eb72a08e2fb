"""gramtune: distributed hyperparameter sweeps for GRAM-nets and the models that they are compared with."""

__version__ = "0.1.0"
