"""docs/results.md: blocks of it are written by the benchmarks, none by hand."""

from __future__ import annotations

import datetime as dt
import os
import platform
from pathlib import Path

import torch

import cryosphere

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results.md"


def write_block(name: str, text: str, command: str) -> None:
    """Put the text between the markers of that name, with date, machine and command.

    Raises:
        ValueError: if the page has no such markers.
    """
    machine = f"{os.cpu_count()} {platform.machine()} cores, no GPU"
    if torch.cuda.is_available():
        machine = torch.cuda.get_device_name()
    origin = (
        f"Measured {dt.datetime.now(tz=dt.UTC):%Y-%m-%d} with cryosphere {cryosphere.__version__}, "
        f"torch {torch.__version__}, {machine}, by `{command}`."
    )
    begin, end = f"<!-- {name} begins -->", f"<!-- {name} ends -->"
    page = RESULTS.read_text(encoding="utf-8")
    if begin not in page or end not in page:
        raise ValueError(f"{RESULTS} has no block called {name!r}")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    RESULTS.write_text(f"{before}{begin}\n{text}\n\n{origin}\n{end}{after}", encoding="utf-8")
