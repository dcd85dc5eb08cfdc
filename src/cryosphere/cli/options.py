"""Kinds of options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
"""An option that is there or not, without a value and without a `--no-` twin."""

Files = Annotated[list[Path], Parameter(consume_multiple=(1, 10_000), negative="")]
"""One or several files after one option."""
