"""gramtune: distributed hyperparameter sweeps for GRAM-nets and the models that they are compared with."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gramtune.api import Result, resume_sweep, run_sweep
    from gramtune.space.load import load_sweep
    from gramtune.space.sweep import Sweep

__version__ = "0.1.0"
__all__ = ["Result", "Sweep", "load_sweep", "resume_sweep", "run_sweep"]
_HOMES = {"Sweep": "gramtune.space.sweep", "load_sweep": "gramtune.space.load"}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: `gramtune --help` and the lower layers need none of them."""
    if name not in __all__:
        raise AttributeError(f"module 'gramtune' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "gramtune.api")), name)
