"""Freed memory stays with the process: large tensors allocated again cost no new pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from cryosphere.memory import keep_freed_memory
import torch
kept = keep_freed_memory()
for _ in range(30):  # glibc 2.36 finds a freed aligned block again only when enough of them lie side by side
    torch.ones(8_000_000).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(8_000_000).sum()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_a_tensor_as_large_as_one_before_takes_no_new_pages() -> None:
    kept, faults = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    ).stdout.split()
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library is not glibc")
    assert kept == "True"
    assert int(faults) < 1000  # ten times 32 MB in pages of 4 kB would be 78,000
