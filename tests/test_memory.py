"""Freed memory stays with the process: large tensors allocated again cost no new pages."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from cryosphere import memory

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not say")
def test_the_memory_that_is_left_is_known_and_less_than_the_machine_has(monkeypatch):
    free = memory.available_memory()
    assert free is not None
    assert 2**24 < free < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    texts = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 3000 kB\n"}
    texts |= {"/sys/fs/cgroup/memory.max": "2000000\n", "/sys/fs/cgroup/memory.current": "900000\n"}
    monkeypatch.setattr(memory, "_text", lambda path: texts.get(path, ""))
    assert memory.available_memory() == 1_100_000  # the container's limit
    texts["/sys/fs/cgroup/memory.stat"] = "anon 5\ninactive_file 400000\n"
    assert memory.available_memory() == 1_500_000
    texts["/sys/fs/cgroup/memory.max"] = "max\n"
    assert memory.available_memory() == 3_072_000
    texts.clear()
    assert memory.available_memory() is None
