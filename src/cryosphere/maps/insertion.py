"""What the Fourier slices of many images add up to: one volume of frequencies for each half, or other set, of them.

By the projection theorem the spectrum of a particle's image is a central slice through the spectrum of its density: the
image's frequency (kx, ky) is the density's Aᵀ (kx, ky, 0), A being the particle's rotation. Slices are laid on a grid
of twice the box by trilinear weights (Penczek 2010, Methods in Enzymology 482, chapter 1).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryosphere.maps import insertion_tensors
from cryosphere.workers import on_all_cores

PADDING: Final = 2  # of the grid of frequencies against the map's box
_BYTES = 4  # of a number
_NOT_A_ROTATION = 1e-3


@dataclass(frozen=True)
class SliceSums:
    """For both halves of the images: sums of CTF times spectrum (real, imaginary) and of CTF², at each frequency.

    sums: (2, box + 1, 2 box + 1, 2 box + 1, 3) float32, [half, z, y, x] in steps of half a cycle per box; z from 0, y
        and x from -box. What lies at z = 0 is complete only with its mirror image (see `plane`). Where images fall
        into more sets than two, `half` counts those.
    """

    box: int
    sums: Float[Tensor, "sets planes width width 3"]

    @classmethod
    def empty(
        cls, box: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, sets: int = 2
    ) -> SliceSums:
        """No images yet, for a map of `box` voxels."""
        if torch.device(device).type != "cpu":
            return cls(box, torch.zeros(shape_of(box, sets), device=device, dtype=dtype))
        kind = np.float64 if dtype == torch.float64 else np.float32
        # NumPy asks Linux for large pages, which PyTorch does not: slices are added in 1.7 ms instead of 2.4 (box 128)
        return cls(box, torch.from_numpy(np.zeros(shape_of(box, sets), dtype=kind)))

    def add(
        self,
        products: Complex[Tensor, "n side half"],
        weights: Float[Tensor, "n side half"],
        rotations: Float[Tensor, "n 3 3"],
        halves: Int[Tensor, " n"],
    ) -> None:
        """Add the slices of images: half-spectra times CTF, and CTF², with phases about the particles' centres.

        Their side is the box, or a multiple of it up to PADDING where images were padded. On a processor by compiled
        code, each thread in planes of its own; the result does not depend on their number.

        Raises:
            ValueError: if a rotation is none.
        """
        strange = torch.linalg.matrix_norm(rotations @ rotations.mT - torch.eye(3, dtype=rotations.dtype))
        if not bool((strange < _NOT_A_ROTATION).all()):
            raise ValueError("a matrix that is no rotation cannot say where its slice lies")
        frames = rotations[:, :2].double() * (PADDING * self.box / weights.shape[-2])
        if self.sums.device.type != "cpu":
            device = self.sums.device
            insertion_tensors.add(products, weights, frames.to(device), halves.to(device), self.sums)
            return
        from cryosphere.maps.insertion_compiled import add

        pairs = torch.view_as_real(products).contiguous().numpy()
        arrays = pairs, weights.contiguous().numpy(), frames.contiguous().numpy(), halves.contiguous().numpy()
        slabs = slabs_of_equal_work(self.box + 1, torch.get_num_threads())
        sums = self.sums.numpy()

        def add_to_slabs(which: slice) -> None:
            for planes in slabs[which]:
                add(*arrays, planes, sums)

        on_all_cores(add_to_slabs, len(slabs))

    def plane(self, half: int | None, z: int) -> tuple[Tensor, Tensor]:
        """Sum of spectra (width, width) and of weights in a plane of one half, or, for None, of both together."""
        own = self.sums[:, z].sum(0) if half is None else self.sums[half, z]
        values, weights = torch.complex(own[..., 0], own[..., 1]), own[..., 2]
        if z == 0:
            values, weights = values + values.flip(0, 1).conj(), weights + weights.flip(0, 1)
        return values, weights


def shape_of(box: int, sets: int = 2) -> tuple[int, ...]:
    """Shape of the sums for a map of `box` voxels."""
    return (sets, box + 1, 2 * box + 1, 2 * box + 1, 3)


def bytes_of(box: int, sets: int = 2) -> int:
    """What the sums for a map of `box` voxels take in memory."""
    return _BYTES * int(np.prod(shape_of(box, sets)))


def slabs_of_equal_work(planes: int, parts: int) -> list[slice]:
    """Planes from 0 on in `parts` slabs that about as many frequencies of evenly spread views fall into.

    Of a ball of frequencies whose density falls as 1 / radius, the plane at height z holds a share that grows as
    planes - z.
    """
    shares = np.cumsum(np.arange(planes, 0, -1))
    ends = np.searchsorted(shares, shares[-1] * np.arange(1, parts) / parts) + 1
    bounds = np.unique(np.concatenate([[0], ends, [planes]])).tolist()
    return [slice(low, high) for low, high in itertools.pairwise(bounds)]
