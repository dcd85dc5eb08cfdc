"""Pages of docs/ whose blocks are written by the benchmarks, none by hand."""

from __future__ import annotations

import datetime as dt
import os
import platform
from pathlib import Path
from typing import Literal

import torch

import cryosphere

DOCS = Path(__file__).resolve().parents[1] / "docs"


def write_block(
    name: str, text: str, command: str, page: str = "results.md", *, how: Literal["Measured", "Computed"] = "Measured"
) -> None:
    """Put the text between the markers of that name on a page, with date, machine and command.

    Raises:
        ValueError: if the page has no such markers.
    """
    machine = f"{os.cpu_count()} {platform.machine()} cores, no GPU"
    if torch.cuda.is_available():
        machine = torch.cuda.get_device_name()
    origin = (
        f"{how} {dt.datetime.now(tz=dt.UTC):%Y-%m-%d} with cryosphere {cryosphere.__version__}, "
        f"torch {torch.__version__}, {machine}, by `{command}`."
    )
    begin, end = f"<!-- {name} begins -->", f"<!-- {name} ends -->"
    path = DOCS / page
    found = path.read_text(encoding="utf-8")
    if begin not in found or end not in found:
        raise ValueError(f"{path} has no block called {name!r}")
    before, _, rest = found.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{text}\n\n{origin}\n{end}{after}", encoding="utf-8")
