"""Taking a step's images a few at a time where the device cannot hold them all: the step stays the same.

The pieces of a batch are to a step what the shares of several processes are (`cryosphere.model.batch.Share`): each
piece's total counts its images as the whole batch would, and the mean over the pieces is the total of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch

from cryosphere.model.batch import Batch, Share
from cryosphere.model.losses import Losses

_NO_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUFFT_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
"""Words of errors that have no class of their own."""


def pieces(batch: Batch, most: int) -> list[Batch]:
    """The batch cut into pieces of at most `most` images, as equal as can be; one that counts nothing stays whole."""
    own = batch.share
    count = -(-own.count // most)
    if count <= 1:
        return [batch]
    ends = [own.count * k // count for k in range(count + 1)]
    return [
        replace(batch[start:end], held=Share(own.first + start, end - start, own.total, own.processes * count))
        for start, end in pairwise(ends)
    ]


def joined(parts: Sequence[Losses]) -> Losses:
    """The losses of a batch from those of its pieces."""
    if len(parts) == 1:
        return parts[0]
    counts = [len(part.correlations) for part in parts]
    terms = [part.terms() for part in parts]
    means = {
        name: torch.stack(
            [count / sum(counts) * each[name].detach() for count, each in zip(counts, terms, strict=True)]
        ).sum()
        for name in terms[0]
    }
    total = torch.stack([part.total.detach() for part in parts]).mean()
    return Losses(**means | {"total": total}, correlations=torch.cat([part.correlations.detach() for part in parts]))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch or Python could not get the memory it asked for, on a GPU or on the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _NO_MEMORY)
