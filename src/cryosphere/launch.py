"""What the environment says of the job that this process was started in, read without loading anything heavy."""

from __future__ import annotations

import os


def is_in_a_job() -> bool:
    """Whether this process is one of several that `torchrun` started."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def is_first_of_job() -> bool:
    """Whether this process is the one that writes and talks to the user: the first of its job, or the only process."""
    return not is_in_a_job() or os.environ.get("RANK", "0") == "0"
