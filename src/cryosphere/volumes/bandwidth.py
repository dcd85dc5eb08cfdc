"""How far from a conformation images still help its map: found by predicting the images of the other half-set.

Images close to the conformation show it best, and are few: their map is noisy. Images further away make it smoother and
blur it. For each half-set and each width, the map of that half is compared with the other half's images closest to the
conformation. The width that predicts them best is taken. The idea is that of RECOVAR (Gilles & Singer 2023, bioRxiv
2023.10.28.564422), which measures the distance of images differently, and chooses for each frequency and place.

Coarse features stand out of the noise with few images, fine ones only with many, so that one can choose for each shell
of spatial frequency, too. Measured on simulated images, the whole map is then a little more like the truth, since most
of a protein stands still; what moves is less like it, since its fine features are averaged over the motion. These maps
are made to see what moves, so that one bandwidth for all shells is the default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.maps.insertion import PADDING, SliceSums

FEWEST = 50  # images in each half, within the narrowest bandwidth
_SHARE = 0.01  # of a half's images that are predicted, where that is more
_GROWTH = 2.0  # of the number of images from one bandwidth to the next
_PREDICTED = 2  # innermost bins that hold the images to predict
_NEIGHBOURS = 2  # shells on either side that have a say in a shell's bandwidth
_LEAST_CORRELATION = 1e-3
_LEAST_NOISE = 1e-6  # of the power of all images' sum: images without any noise


@dataclass(frozen=True)
class Ladder:
    """Bandwidths to choose from, and the bins of distance that images fall into between them.

    edges: (bins,) Å, largest distance in each bin. mean_squares: (bins,) Å², of the distances in each bin.
    The bandwidths are all edges from the second on, and infinity, with which all images weigh the same.
    """

    edges: NDArray[np.float64]
    mean_squares: NDArray[np.float64]

    @classmethod
    def of(cls, distances: NDArray[np.floating], halves: NDArray[np.int64]) -> Ladder:
        """Bins of distances (n,) in which both halves, of FEWEST images at least, are present: twice as many each."""
        ordered = [np.sort(distances[halves == half].astype(np.float64)) for half in (0, 1)]
        fewest = min(map(len, ordered))
        counts = [max(FEWEST, round(_SHARE * fewest)) / _GROWTH]
        while counts[-1] * _GROWTH < fewest / np.sqrt(_GROWTH):
            counts.append(counts[-1] * _GROWTH)
        reached = [max(float(half[int(count) - 1]) for half in ordered) for count in counts]
        edges = np.unique([*reached, float(distances.max())])
        bins = np.searchsorted(edges, distances)
        total = np.bincount(bins, np.square(distances.astype(np.float64)), minlength=len(edges))
        return cls(edges, total / np.maximum(np.bincount(bins, minlength=len(edges)), 1))

    def bins(self, distances: NDArray[np.floating]) -> NDArray[np.int64]:
        """The bin of each distance."""
        return np.minimum(np.searchsorted(self.edges, distances), len(self.edges) - 1).astype(np.int64)

    @property
    def bandwidths(self) -> NDArray[np.float64]:
        """(rungs,) Å, narrowest first, the last one infinite."""
        return np.array([*(edge for edge in self.edges[1:] if edge > 0), np.inf])

    def weights(self, bandwidth: float) -> NDArray[np.float64]:
        """What the images of each bin count, (bins,)."""
        return epanechnikov(np.sqrt(self.mean_squares), bandwidth)


@dataclass(frozen=True)
class Bandwidth:
    """The bandwidths chosen for one map.

    of_shell: (shells,) Å, one for each shell of one cycle per box; whole: the one that is best for all of them alike.
    """

    of_shell: NDArray[np.float64]
    whole: float

    def to(self, shells: int) -> Bandwidth:
        """The same for more shells, which get the last one's bandwidth."""
        return Bandwidth(np.pad(self.of_shell, (0, shells - len(self.of_shell)), mode="edge"), self.whole)

    @property
    def widest(self) -> float:
        """Images further away count nowhere."""
        return float(self.of_shell.max())


def epanechnikov(distances: NDArray[np.floating], bandwidth: float) -> NDArray[np.float64]:
    """What images count at these distances: 1 - (d / h)², and nothing from the bandwidth h on.

    Of all kernels this one needs the fewest images for the same error (Epanechnikov 1969).
    """
    if np.isinf(bandwidth):
        return np.ones(len(distances))
    squares = np.square(distances.astype(np.float64)) / max(bandwidth, 1e-30) ** 2
    return np.asarray(np.clip(1 - squares, 0.0, None))


def prediction_scores(sums: SliceSums, ladder: Ladder) -> NDArray[np.float64]:
    """How well each bandwidth's map predicts the other half's closest images, (rungs, shells): the lower, the better.

    sums: of the images of each bin and half, set 2 · bin + half; changed by this function.

    The closest images' sums are P (CTF times spectrum) and W (CTF²), the other half's map is V. Up to what no map
    changes, the squared residual of the images is Σ W |V|² - 2 Re(V* P) over the frequencies of a shell. V is filtered
    by the correlation of both halves' maps, and scaled in each shell to predict best, so that a bandwidth is not judged
    by its filter. What remains is -(Σ Re V* P)² / Σ W |V|². As in a likelihood, each shell counts by one over the power
    of the images' noise there: how loud a shell is, which any filter of the images would change, has no say.
    """
    values = _complete(sums)
    bins = len(values)
    shells = _Shells.of(sums)
    noise = _noise_power(values.sum(0), shells)
    predicted = values[: min(_PREDICTED, bins)].sum(0)
    scores = []
    for bandwidth in ladder.bandwidths:
        weights = torch.as_tensor(ladder.weights(bandwidth), dtype=values.dtype, device=values.device)
        some = int(torch.count_nonzero(weights))
        together = torch.tensordot(weights[:some], values[:some], dims=1)
        scores.append(_score(together, predicted, shells) / noise)
    return np.stack(scores)


def chosen_bandwidth(scores: NDArray[np.float64], bandwidths: NDArray[np.float64]) -> Bandwidth:
    """The bandwidth of least score in each shell, its neighbours considered; it never falls with the frequency.

    A finer shell holds less signal and no less noise, so that it needs as many images at least. Without that knowledge
    the last shells, in which nothing is predicted, would have bandwidths drawn by noise.
    """
    kernel = np.ones(2 * _NEIGHBOURS + 1)
    smooth = np.stack([np.convolve(row, kernel, mode="same") for row in scores])
    best = np.maximum.accumulate(smooth[:, 1:].argmin(axis=0))
    best = np.concatenate([best[:1], best])  # shell 0 is the map's mean, which no image shows
    return Bandwidth(bandwidths[best], float(bandwidths[scores[:, 1:].sum(axis=1).argmin()]))


def _complete(sums: SliceSums) -> Tensor:
    """The sums as (bins, half, planes, width, width, 3), the plane z = 0 completed by its mirror image."""
    values = sums.sums
    plane = values[:, 0]
    plane += plane.flip(1, 2) * torch.tensor([1.0, -1.0, 1.0], dtype=values.dtype, device=values.device)
    return values.view(-1, 2, *values.shape[1:])


@dataclass(frozen=True)
class _Shells:
    """The shell of each frequency of one half's sums, flat; `count` of them, and one more for what lies beyond."""

    index: Tensor
    count: int
    stands_for: Tensor  # 1/2 in the plane z = 0, which holds each frequency twice
    frequencies: Float[Tensor, " shells"]

    @classmethod
    def of(cls, sums: SliceSums) -> _Shells:
        along = torch.arange(-sums.box, sums.box + 1, device=sums.sums.device).float()
        z = torch.arange(sums.box + 1, device=sums.sums.device).float()
        radius = (z[:, None, None].square() + along[:, None].square() + along.square()).sqrt() / PADDING
        count = sums.box // 2 + 1
        index = torch.where(radius <= sums.box / 2, (radius + 0.5).long().clamp_max(count - 1), count).flatten()
        stands_for = torch.where(z == 0, 0.5, 1.0)[:, None, None]
        made = cls(index, count, stands_for, torch.ones(count))
        ones = torch.ones_like(radius)
        return cls(index, count, stands_for, made.sum(ones))

    def sum(self, values: Tensor) -> Tensor:
        total = torch.zeros(self.count + 1, dtype=torch.float64, device=values.device)
        return total.index_add_(0, self.index, (values * self.stands_for).flatten().double())[: self.count]

    def spread(self, of_shells: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(of_shells, (0, 1)).float()
        size = round((len(self.index) / len(self.stands_for)) ** 0.5)
        return padded[self.index].view(-1, size, size)


def _noise_power(halves: Tensor, shells: _Shells) -> NDArray[np.float64]:
    """Of the images in each shell, (shells,), from the difference of both halves' maps; halves: all images' sums.

    P = W V and noise, whose variance is W times that of the images: half-maps P / W differ by noise of 1/W + 1/W'.
    """
    (one, first), (other, second) = ((half[..., :2], half[..., 2]) for half in halves)
    both = first * second
    known = (both > 0).float()
    difference = _norm(one * second[..., None] - other * first[..., None]) / (both * (first + second)).clamp_min(1e-30)
    power = (_norm(one) + _norm(other)) / (first + second).clamp_min(1e-30)
    count = shells.sum(known).clamp_min(1.0)
    noise = torch.maximum(shells.sum(difference * known), _LEAST_NOISE * shells.sum(power * known)) / count
    return np.asarray(noise.clamp_min(1e-300).cpu().numpy())


def _score(together: Tensor, predicted: Tensor, shells: _Shells) -> NDArray[np.float64]:
    """Of one bandwidth: what both halves' maps predict of the other half's images, shell by shell."""
    means = [shells.sum(half[..., 2]) / shells.frequencies for half in together]
    plain = [_divided(half, shells.spread(1e-3 * mean)) for half, mean in zip(together, means, strict=True)]
    power = shells.sum(_norm(plain[0])) * shells.sum(_norm(plain[1]))
    correlation = shells.sum((plain[0] * plain[1]).sum(-1)) / power.sqrt().clamp_min(1e-300)
    known = correlation.clamp(_LEAST_CORRELATION, 1 - _LEAST_CORRELATION)
    expected, agreement = torch.zeros(2, shells.count, dtype=torch.float64, device=together.device)
    for half, mean, other in zip(together, means, predicted.flip(0), strict=True):
        filtered = _divided(half, shells.spread(mean * (1 - known) / known))
        expected += shells.sum(other[..., 2] * _norm(filtered))
        agreement += shells.sum((filtered * other[..., :2]).sum(-1))
    score = torch.where(agreement > 0, -agreement.square() / expected.clamp_min(1e-300), 0.0)
    return np.asarray(score.cpu().numpy())


def _divided(half: Tensor, added: Tensor) -> Tensor:
    """Real and imaginary part of a map's spectrum; 0 where nothing is known."""
    below = (half[..., 2] + added)[..., None]
    return torch.where(below > 0, half[..., :2] / below.clamp_min(1e-30), 0.0)


def _norm(pairs: Tensor) -> Tensor:
    return pairs.square().sum(-1)
