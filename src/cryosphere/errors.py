"""The one family of errors: each says what was found, what was expected, where, and the likely fix."""

from __future__ import annotations


class CryosphereError(Exception):
    """Anything this software reports on purpose. `exit_code` is what the command line returns for it."""

    exit_code = 1


class InputError(CryosphereError):
    """The user's input cannot be used as it is: wrong, damaged, or missing."""

    exit_code = 2


class ParticleError(InputError):
    """A particle file (.star, .cs) lacks something, contradicts itself, or cannot be read."""


class ImageStackError(InputError):
    """An image stack is missing, truncated, of the wrong shape, or holds unusable images."""


class StructureError(InputError):
    """An atomic model is empty, unreadable, or does not fit the images."""


class MapError(InputError):
    """A density map is missing, damaged, empty, or does not belong to the particles or the model."""


class ConfigError(InputError):
    """A configuration key or value is unknown, contradictory, or out of range."""


class RunError(InputError):
    """A run directory is missing, occupied, damaged, or does not belong to these settings."""


class DiskFullError(InputError):
    """A disk or a quota has no room for what is to be written; what was there before is still whole."""


class OccupiedError(InputError):
    """Another process works where only one may."""


class DeviceError(InputError):
    """The requested computing device is not there."""


class NonFiniteLossError(CryosphereError):
    """A term of the loss became infinite or undefined during training."""


class ProcessLostError(CryosphereError):
    """Another process of the same job died, so this one cannot go on."""


class FailedElsewhereError(CryosphereError):
    """Another process of the same job failed and tells the user why; this one ends in silence."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process of this job failed, and says why")
        self.exit_code = exit_code
