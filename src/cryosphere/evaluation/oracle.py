"""How good can it get: the posterior mean of a figure given the true conformations, poses, CTF and noise level.

No method that sees one image at a time can beat it on average: it is told everything except which conformation is
in the image. Where candidates stand for groups of conformations (see `candidates`), a method that resolves what
differs within a group can: `Oracle.without_noise` says how far the groups alone go.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.distribution import World
from cryosphere.evaluation.candidates import Candidates
from cryosphere.evaluation.measures import correlation
from cryosphere.fourier import parseval_weights, to_spectrum
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.kernel import KERNEL_WIDTH
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.particles.stacks import ImageStacks
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.truth import Truth
from cryosphere.workers import lone_workers

PIXELS_READ = 2**22  # at a time
WORK_AT_ONCE = {"cpu": 2**18, "cuda": 2**26}  # numbers: bounds memory; small pieces suit a CPU's cache
STILL = 1e-3  # Å; a bead or atom that differs by less between all candidates is projected once for all of them
RESAMPLES = 50

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Oracle:
    """What each of m images says about C candidates."""

    rows: NDArray[np.int64]  # (m,) images
    candidates: Candidates
    of_row: NDArray[np.int64]  # (m,) candidate that stands for what the image shows
    log_joint: Float  # (m, C) logarithm of prior times likelihood, up to a constant for every image

    @property
    def posteriors(self) -> Float:
        """Probability of each candidate, (m, C)."""
        return np.asarray(scipy.special.softmax(self.log_joint, axis=1))

    def gathered(self, world: World) -> Oracle:
        """The same of all processes' images, in order."""
        rows, of_row = world.gather(self.rows), world.gather(self.of_row)
        return Oracle(rows, self.candidates, of_row, world.gather(self.log_joint))

    def expected(self, values: Float) -> Float:
        """Posterior mean of a figure of the conformations (K,), (m,)."""
        return self.posteriors @ self.candidates.figure(values)

    def without_noise(self, values: Float) -> Float:
        """What the oracle would say of each image if it knew for sure which candidate stands for it, (m,)."""
        return self.candidates.figure(values)[self.of_row]

    def uncertainty(self, values: Float, true: Float) -> float:
        """Standard deviation of the oracle's correlation with the true figure (m,): how far it rests on chance.

        Bootstrap over the images and, unless every conformation is a candidate, over the candidates (Efron 1979).
        """
        generator = np.random.default_rng(0)
        of_candidates = self.candidates.figure(values)
        found = []
        for _ in range(RESAMPLES):
            rows = generator.integers(len(self.rows), size=len(self.rows))
            joint = self.log_joint[rows]
            if not self.candidates.exact:
                drawn = np.bincount(generator.integers(joint.shape[1], size=joint.shape[1]), minlength=joint.shape[1])
                joint = joint + np.log(np.maximum(drawn, 1e-300))
            found.append(correlation(scipy.special.softmax(joint, axis=1) @ of_candidates, true[rows]))
        known = np.array(found)[np.isfinite(found)]  # a draw of one image over and over again does not vary
        return float(known.std()) if len(known) > 1 else float("nan")


def ask_oracle(
    truth: Truth,
    stacks: ImageStacks,
    rows: NDArray[np.int64],
    candidates: Candidates,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> Oracle:
    """Weigh every candidate against each of the given images.

    The images are seen under the true poses, whatever the particle file says; the CTFs are the particle file's. The
    noise is white with the simulation's standard deviation, and every candidate counts as often as images show what it
    stands for. Where images lack residues, the oracle is not told which: it sums over the compositions that occur,
    each counted as often as it does.
    """
    scene = _Scene(truth, candidates, torch.device(device))
    likelihoods, together = [], max(1, PIXELS_READ // truth.box**2)
    with progress.track(len(rows), "oracle: weighing the true conformations") as advance:
        run = _workers(scene.device)
        for start in range(0, len(rows), together):
            chosen = rows[start : start + together]
            images = torch.from_numpy(stacks.read(chosen))
            for likelihood in run.map(scene.log_likelihood, chosen, images, scene.transfers(stacks, chosen)):
                likelihoods.append(likelihood)
                advance(1)
    joint = np.reshape(likelihoods, (-1, len(candidates))) + np.log(candidates.shares)
    return Oracle(rows, candidates, candidates.group[truth.conformation_index[rows]], joint)


def _workers(device: torch.device) -> ThreadPoolExecutor:
    """As many workers as PyTorch has threads, each computing one image by itself (one worker feeds a GPU)."""
    return lone_workers(torch.get_num_threads() if device.type == "cpu" else 1)


class _Scene:
    """The candidates, ready to be seen as any image would show them."""

    def __init__(self, truth: Truth, candidates: Candidates, device: torch.device) -> None:
        self.truth = truth
        self.device = device
        self.grid = ImageGrid(truth.box, truth.pixel_size)
        self.projector = SpreadProjector(self.grid, truth.bead_sigma, device)
        still = np.ptp(candidates.points, axis=0).max(axis=-1) < STILL
        self.moving = torch.as_tensor(candidates.points[:, ~still], dtype=torch.float32, device=device)
        self.still = torch.as_tensor(candidates.points[:1, still], dtype=torch.float32, device=device)
        self.compositions = []
        for present, share in _compositions(truth):
            weights = torch.as_tensor(candidates.electrons * present[candidates.bead]).to(self.moving)
            is_still = torch.as_tensor(still, device=device)
            self.compositions.append((weights[~is_still], weights[is_still], float(np.log(share))))
        self.weight = parseval_weights(truth.box, device).sqrt() / truth.noise_sd
        load = max(truth.box**2, KERNEL_WIDTH**2 * int((~still).sum()))
        self.at_once = max(1, WORK_AT_ONCE["cpu" if device.type == "cpu" else "cuda"] // load)

    def transfers(self, stacks: ImageStacks, rows: NDArray[np.int64]) -> Tensor:
        """Contrast transfer function of each row's image, (rows, box, box // 2 + 1)."""
        return contrast_transfer(CtfParameters.from_table(stacks.table[rows]).to(self.device), self.grid)

    @torch.no_grad()
    def log_likelihood(self, row: int, image: Tensor, transfer: Tensor) -> NDArray[np.float64]:
        """Of an image (box, box) under each candidate seen as it was taken, up to a constant, (candidates,)."""
        rotation, shift = (torch.as_tensor(x[row]).to(self.moving) for x in (self.truth.rotations, self.truth.shifts))
        moving, still = (torch.matmul(beads, rotation[:2].mT) - shift for beads in (self.moving, self.still))
        passed = transfer * self.weight
        observed = to_spectrum(self.truth.sign * image.to(self.device)) * self.weight
        found = []
        for of_moving, of_still, log_share in self.compositions:
            rest = observed - self.projector(still, of_still)[0] * passed
            squares = [
                torch.view_as_real(self.projector(xy, of_moving) * passed - rest)
                .square()
                .sum((-3, -2, -1), dtype=torch.float64)
                for xy in torch.split(moving, self.at_once)
            ]
            found.append(log_share - 0.5 * torch.cat(squares))
        return torch.stack(found).logsumexp(dim=0).cpu().numpy()


def _compositions(truth: Truth) -> list[tuple[NDArray[np.bool_], float]]:
    """Which residues are there, (R,), and in which share of the images, for every composition that occurs."""
    kinds, first, counts = np.unique(truth.presence, axis=0, return_index=True, return_counts=True)
    present = truth.present(first)
    return [(present[k], float(counts[k]) / len(truth.presence)) for k in range(len(kinds))]
