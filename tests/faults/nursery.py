"""A process that has imported everything and does nothing but start commands: forks of itself, ready at once.

One line of JSON per order on standard input, one line per answer on standard output:
{"run": [arguments], "log": pipe} starts `cryosphere arguments` and tells its process id; with "slow_images" and
"slow_steps" (seconds) it rests before every batch of preprocessing and every step of training, with "file_limit"
(bytes) no file may grow larger, with "obedient" permissions hold for it even if it is root's. {"wait": id} waits for
its end and tells its exit code (minus the signal's number, if one ended it).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import time
from typing import Any

import cryosphere.analysis.analyze
import cryosphere.evaluation.evaluate
import cryosphere.simulation.simulate
import cryosphere.training.train  # noqa: F401
from cryosphere.cli.main import main
from cryosphere.particles import cache
from cryosphere.training import trainer


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        answer = start(order) if "run" in order else os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def start(order: dict[str, Any]) -> int:
    output = os.open(order["log"], os.O_WRONLY)
    child = os.fork()
    if child:
        os.close(output)
        return child
    os.dup2(output, 1)
    os.dup2(output, 2)
    go_slowly(order.get("slow_images", 0.0), order.get("slow_steps", 0.0))
    if order.get("file_limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_limit"],) * 2)
    if order.get("obedient") and os.geteuid() == 0:
        obey_permissions()
    sys.argv = ["cryosphere", *order["run"]]
    try:
        main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code or 0))
    except BaseException:  # a fork never goes back to serving
        os._exit(70)
    os._exit(0)


def go_slowly(images: float, steps: float) -> None:
    """Rest between images and between steps, so that a signal finds something to hit."""
    preprocess, step = cache.preprocess_batch, trainer.Trainer._step

    def slow_preprocess(*arguments: Any) -> Any:
        time.sleep(images)
        return preprocess(*arguments)

    def slow_step(*arguments: Any) -> None:
        time.sleep(steps)
        step(*arguments)

    cache.preprocess_batch = slow_preprocess
    cache._PIXELS_PER_BATCH = 4 * 32 * 32
    trainer.Trainer._step = slow_step


def obey_permissions() -> None:
    """Give up root's right to write where permissions forbid it (Linux: CAP_DAC_OVERRIDE)."""
    version, override = 0x20080522, 1 << 1
    header = (ctypes.c_uint32 * 2)(version, 0)
    rights = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: of the first 32 rights, then of the others
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, rights) == 0
    rights[0] &= ~override
    rights[1] &= ~override
    assert libc.capset(header, rights) == 0


if __name__ == "__main__":
    serve()
