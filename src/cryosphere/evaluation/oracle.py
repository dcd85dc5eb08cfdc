"""How good can it get: the posterior mean of a figure given the true conformations, poses, CTF and noise level.

No method that sees one image at a time can beat it on average: it is told everything except which conformation is
in the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.fourier import parseval_weights, to_spectrum
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.imaging.spreading import KERNEL_WIDTH
from cryosphere.particles.stacks import ImageStacks
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.truth import Truth

PIXELS_READ = 2**22  # at a time
WORK_AT_ONCE = {"cpu": 2**18, "cuda": 2**26}  # pixels, or bead windows: bounds memory; small pieces suit a CPU's cache
SAMPLE = 200  # conformations from which the main direction of motion is taken


def conformation_posteriors(
    truth: Truth,
    stacks: ImageStacks,
    rows: NDArray[np.int64],
    candidates: NDArray[np.int64],
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> NDArray[np.float64]:
    """Probability of each candidate conformation for each image, (rows, candidates).

    Every candidate counts as often as images of the data set show it (or the candidate nearest to what they show),
    and the noise is white with the simulation's standard deviation.
    """
    scene = _Scene(truth, candidates, torch.device(device))
    log_prior = np.log(_prior(truth, candidates))
    likelihoods, together = [], max(1, PIXELS_READ // truth.box**2)
    with progress.track(len(rows), "oracle: weighing the true conformations") as advance, _workers(scene.device) as run:
        for start in range(0, len(rows), together):
            chosen = rows[start : start + together]
            images = torch.from_numpy(stacks.read(chosen))
            for likelihood in run.map(scene.log_likelihood, chosen, images, scene.transfers(stacks, chosen)):
                likelihoods.append(likelihood)
                advance(1)
    joint = np.reshape(likelihoods, (-1, len(candidates))) + log_prior
    return np.asarray(scipy.special.softmax(joint, axis=1))


@contextmanager
def _workers(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """As many workers as PyTorch has threads, each computing one image on one thread (one worker feeds a GPU).

    Many small steps shared among threads wait for the slowest thread each time, most of all on a busy machine.
    """
    threads = torch.get_num_threads()
    count = threads if device.type == "cpu" else 1
    try:
        torch.set_num_threads(max(1, threads // count))
        with ThreadPoolExecutor(count) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


class _Scene:
    """The candidates, ready to be seen as any image would show them."""

    def __init__(self, truth: Truth, candidates: NDArray[np.int64], device: torch.device) -> None:
        self.truth = truth
        self.device = device
        self.grid = ImageGrid(truth.box, truth.pixel_size)
        self.projector = SpreadProjector(self.grid, truth.bead_sigma, device)
        self.amplitudes = torch.as_tensor(truth.amplitudes, dtype=torch.float32, device=device)
        self.structures = torch.as_tensor(truth.conformations[candidates], dtype=torch.float32, device=device)
        self.weight = parseval_weights(truth.box, device).sqrt() / truth.noise_sd
        load = max(truth.box**2, KERNEL_WIDTH**2 * len(truth.amplitudes))
        self.at_once = max(1, WORK_AT_ONCE["cpu" if device.type == "cpu" else "cuda"] // load)

    def transfers(self, stacks: ImageStacks, rows: NDArray[np.int64]) -> Tensor:
        """Contrast transfer function of each row's image, (rows, box, box // 2 + 1)."""
        return contrast_transfer(CtfParameters.from_table(stacks.table[rows]).to(self.device), self.grid)

    @torch.no_grad()
    def log_likelihood(self, row: int, image: Tensor, transfer: Tensor) -> NDArray[np.float64]:
        """Of an image (box, box) under each candidate seen as it was taken, up to a constant, (candidates,)."""
        rotation, shift = (
            torch.as_tensor(x[row]).to(self.structures) for x in (self.truth.rotations, self.truth.shifts)
        )
        xy = torch.matmul(self.structures, rotation[:2].mT) - shift
        observed = to_spectrum(self.truth.sign * image.to(self.device)) * self.weight
        seen = transfer * self.weight
        squares = []
        for piece in torch.split(xy, self.at_once):
            difference = torch.view_as_real(self.projector(piece, self.amplitudes) * seen - observed)
            squares.append(difference.square().sum((-3, -2, -1), dtype=torch.float64))
        return -0.5 * torch.cat(squares).cpu().numpy()


def _prior(truth: Truth, candidates: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the data set that each candidate stands for."""
    chosen = truth.conformations[candidates].reshape(len(candidates), -1).astype(np.float64)
    centre = chosen.mean(axis=0)
    chosen -= centre
    nearest = []
    for start in range(0, len(truth.conformations), SAMPLE):
        some = truth.conformations[start : start + SAMPLE]
        flat = some.reshape(len(some), -1) - centre
        nearest.append((np.square(chosen).sum(axis=1) - 2 * flat @ chosen.T).argmin(axis=1))
    counts = np.bincount(truth.conformation_index, minlength=len(truth.conformations))
    shares = np.bincount(np.concatenate(nearest), weights=counts, minlength=len(candidates))
    return np.asarray((shares + 1e-9) / (shares + 1e-9).sum())


def spread_candidates(truth: Truth, count: int) -> NDArray[np.int64]:
    """At most `count` conformations that cover the range: all, or evenly along their main direction of motion.

    That direction is taken from at most SAMPLE conformations, by the small matrix of their inner products.
    """
    total = len(truth.conformations)
    if total <= count:
        return np.arange(total)
    flat = truth.conformations.reshape(total, -1)
    some = flat[np.linspace(0, total - 1, min(total, SAMPLE)).astype(np.int64)].astype(np.float64)
    some -= some.mean(axis=0)
    weights = np.linalg.eigh(some @ some.T)[1][:, -1]
    main = flat @ (weights @ some).astype(np.float32)
    return np.sort(np.argsort(main)[np.linspace(0, total - 1, count).round().astype(np.int64)])
