"""gramtune: distributed hyperparameter sweeps for GRAM-nets and the models that they are compared with."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gramtune.api import open_run, resume_sweep, run_sweep
    from gramtune.errors import SpecError
    from gramtune.registry import register
    from gramtune.result import Best, Result
    from gramtune.space.domain import Domain
    from gramtune.space.load import load_sweep
    from gramtune.space.sweep import Sweep

__version__ = "0.1.0"
__all__ = [
    "Best",
    "Domain",
    "Result",
    "SpecError",
    "Sweep",
    "load_sweep",
    "open_run",
    "register",
    "resume_sweep",
    "run_sweep",
]
_HOMES = {
    "Best": "gramtune.result",
    "Domain": "gramtune.space.domain",
    "Result": "gramtune.result",
    "SpecError": "gramtune.errors",
    "Sweep": "gramtune.space.sweep",
    "load_sweep": "gramtune.space.load",
    "register": "gramtune.registry",
}


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use, because `gramtune --help` and the lower layers need none of them."""
    if name not in __all__:
        raise AttributeError(f"module 'gramtune' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "gramtune.api")), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return [*__all__, "__version__"]
