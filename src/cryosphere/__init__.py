"""One atomic structure per cryo-EM particle image.

`configure`, `train`, `analyze` and `Run` are what the command line is made of, for notebooks and scripts. They are
looked up on first use, so that `import cryosphere` stays light.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("cryosphere")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["Run", "__version__", "analyze", "configure", "train"]

_HOMES = {
    "Run": "cryosphere.analysis.run",
    "analyze": "cryosphere.analysis.analyze",
    "configure": "cryosphere.training.configure",
    "train": "cryosphere.training.train",
}


def __getattr__(name: str) -> Any:
    """Import one of the names in `__all__` when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
