"""One job of several processes: which piece of the work is whose, and how what each found comes together.

Processes are started by `torchrun`, one per device, on one machine or several. All of them run the same program and
call the methods of `World` that talk to the others in the same order. A process started by itself is a world of one:
everything here then does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.errors import ConfigError, DeviceError, FailedElsewhereError, ProcessLostError
from cryosphere.launch import is_in_a_job

Scalar = TypeVar("Scalar", bound=np.generic)

PATIENCE = timedelta(days=1)  # the others wait while the first process prepares images
HUNG = timedelta(minutes=30)  # a process that lets the others wait so long for its gradients hangs
ASK_EVERY = 10  # steps between questions to all processes: each costs as much as a short step
_SET_BY_TORCHRUN = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_LOST = ("connection", "peer", "gloo", "nccl", "timed out", "remote process")


@dataclass(frozen=True)
class World:
    """The processes of a job, as one of them sees it."""

    rank: int = 0  # of this process among all
    size: int = 1  # processes
    local_rank: int = 0  # of this process among those on its machine
    local_size: int = 1  # processes on this machine
    _hosts: Any = field(default=None, repr=False, compare=False)  # group for what does not lie on a GPU

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and talks to the user."""
        return self.rank == 0

    def piece(self, count: int) -> slice:
        """Which of `count` things in a row are this process's: all pieces, in order of rank, are all the things.

        Pieces differ in size by one at most, as those of `numpy.array_split`; there may be nothing in one.

        >>> [World(rank, 3).piece(7) for rank in range(3)]
        [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
        """
        size, longer = divmod(count, self.size)
        start = self.rank * size + min(self.rank, longer)
        return slice(start, start + size + (self.rank < longer))

    def is_time_to_ask(self, step: int) -> bool:
        """Whether after this step all are asked (`agree`): now and then, since it costs time, or always when alone."""
        return self.size == 1 or step % ASK_EVERY == 0

    def agree(self, *, on: bool) -> bool:
        """Whether anyone says yes."""
        return any(self._exchange(int(on))) if self.size > 1 else on

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes of tensors of one shape."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        with self.talking():
            torch.distributed.all_reduce(total, group=self._group(total))
        return total

    def gather(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """The pieces of all processes one after the other, in order of rank; they may differ in length."""
        if self.size == 1:
            return array
        content = np.ascontiguousarray(array)
        lengths = self._exchange(len(content))
        row = content.itemsize * int(np.prod(content.shape[1:]))
        mine = torch.zeros(max(lengths) * row, dtype=torch.uint8)
        mine[: content.nbytes] = torch.from_numpy(content.reshape(-1).view(np.uint8))
        pieces = [torch.empty_like(mine) for _ in lengths]
        with self.talking():
            torch.distributed.all_gather(pieces, mine, group=self._hosts)
        found = np.concatenate([p[: n * row].numpy() for p, n in zip(pieces, lengths, strict=True)])
        return found.view(content.dtype).reshape(-1, *content.shape[1:])

    def from_first(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """The first process's array, for all: what each decides for itself could differ in the last digit.

        The arrays of the others say of which type and shape its rows are.
        """
        return self.gather(array if self.is_first else array[:0])

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the values that they have on the first process."""
        if self.size == 1:
            return
        with torch.no_grad(), self.talking():
            for tensor in tensors:
                torch.distributed.broadcast(tensor.detach(), 0, group=self._group(tensor))

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that fails on all processes if it fails on one; inside it none may talk to the others.

        The first one that failed raises its error, to be told to the user; the others raise FailedElsewhereError.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            if self.size == 1:
                raise
            failure = error
        if self.size == 1:
            return
        try:
            codes = self._exchange(_exit_code(failure))
        except (ProcessLostError, FailedElsewhereError) as lost:
            if failure is None:
                raise
            raise failure from lost  # this process knows more than that another one has gone
        self._raise_if_failed(codes, failure)

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """A block that the others begin when the first process has done it: what it made on disk, they find.

        Inside it none may talk to the others. It fails on all if it fails on one.
        """
        if self.size > 1 and not self.is_first:
            self._raise_if_failed(self._exchange(0), None)
        with self.together():
            yield
        if self.size > 1 and self.is_first:
            self._raise_if_failed(self._exchange(0), None)

    def told_once(self, error: Exception) -> Exception:
        """An error that all processes meet alike, to be raised: the first one tells it."""
        return error if self.is_first else FailedElsewhereError(_exit_code(error))

    @contextmanager
    def talking(self) -> Iterator[None]:
        """A block in which processes talk to each other: if one has died, it ends with an error that says so.

        Raises:
            ProcessLostError: if another process cannot be reached any more.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(word in str(error).lower() for word in _LOST):
                raise
            # one on every machine tells it, and the first two of all, of whom one lives or has told what happened to it
            if self.rank > 1 and self.local_rank > 0:
                raise FailedElsewhereError(ProcessLostError.exit_code) from error
            raise ProcessLostError(
                f"another of the {self.size} processes of this job died or was ended. If it could say why, it did "
                "so above or in its own log; if not, it was killed, as where memory runs out"
            ) from error

    def _exchange(self, number: int) -> list[int]:
        """Everyone's number, in order of rank."""
        numbers = torch.zeros(self.size, dtype=torch.int64)
        numbers[self.rank] = number
        with self.talking():
            torch.distributed.all_reduce(numbers, group=self._hosts)
        return [int(n) for n in numbers]

    def _raise_if_failed(self, codes: list[int], failure: Exception | None) -> None:
        failed = [rank for rank, code in enumerate(codes) if code]
        if not failed:
            return
        if failure is not None and failed[0] == self.rank:
            raise failure
        raise FailedElsewhereError(codes[failed[0]]) from failure

    def _group(self, tensor: Tensor) -> Any:
        return self._hosts if tensor.device.type == "cpu" else None


ALONE = World()


def join() -> World:
    """The job that `torchrun` started this process in; a world of one where it was started by itself.

    Raises:
        ConfigError: if the environment says that there are several processes, but not how they find each other.
    """
    if not is_in_a_job():
        return ALONE
    missing = [name for name in _SET_BY_TORCHRUN if name not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} is not set: start a job of several "
            "processes by `torchrun --nproc-per-node N --no-python cryosphere …`, or unset WORLD_SIZE"
        )
    return _connected()


def find_device(name: str) -> torch.device:
    """The device to compute on: "auto" takes a GPU if there is one. Processes of one job take one GPU each.

    Raises:
        DeviceError: if CUDA is asked for and there is none, or there are fewer GPUs than processes.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise DeviceError(
            "a CUDA device was asked for, but PyTorch sees none (a CPU build, no driver, or CUDA_VISIBLE_DEVICES); "
            "--device auto takes what there is"
        )
    if not available or name == "cpu":
        return torch.device("cpu")
    world = join()
    if world.size == 1:
        return torch.device("cuda")
    if world.local_size > torch.cuda.device_count():
        raise DeviceError(
            f"{world.local_size} processes were started on this machine, which has {torch.cuda.device_count()} GPU(s), "
            "and each process takes one: start as many as there are (torchrun --nproc-per-node), or set --device cpu"
        )
    device = torch.device("cuda", world.local_rank)
    torch.cuda.set_device(device)
    return device


@cache
def _connected() -> World:
    """Connect to the other processes, once: gradients on GPUs travel by NCCL, everything else by gloo."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    rank, local_rank, local_size = (int(os.environ[name]) for name in _SET_BY_TORCHRUN[:3])
    torch.distributed.init_process_group(backend, timeout=HUNG)
    hosts = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
    return World(rank, int(os.environ["WORLD_SIZE"]), local_rank, local_size, hosts)


def _exit_code(error: Exception | None) -> int:
    return 0 if error is None else int(getattr(error, "exit_code", 1))
