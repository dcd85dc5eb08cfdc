"""Worker threads compute alone, and leave the number of everybody else's threads as it was."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import threading, torch
from cryosphere.workers import lone_workers
torch.set_num_threads(4)
pool = lone_workers(4)
gate = threading.Barrier(4)
def ask(_):
    gate.wait()
    torch.ones(1000, 1000).exp()  # an operation that would be shared
    return torch.get_num_threads()
inside = sorted(pool.map(ask, range(4)))
fresh = []
thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
thread.start(); thread.join()
print(inside, fresh, torch.get_num_threads())
"""


def test_one_thread_inside_and_as_many_as_before_outside() -> None:
    for _ in range(3):  # what depended on who came first would not be the same each time
        done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[1, 1, 1, 1] [4] 4"
