"""How probable images are under structures, read off one set of frequencies or foretold for another.

An image's pose is never quite right, and a model that can move parts will use them to mend it. Here every structure may
first be turned and shifted as a whole as the image likes best: what is left to compare is what the molecule does
within itself. Brightness is free too, as images are compared by their normalised correlation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryosphere.fourier import frequency_components, integer_frequencies
from cryosphere.model.batch import Batch
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.validation.frequencies import two_sets

TURN = math.radians(3.0)  # standard deviation of a pose's error about each axis, as expected beforehand
SHIFT = 2.0  # Å, likewise along each axis
_STEP = 0.01  # radians: turned by so much, a molecule of 50 Å radius moves by half an Ångström


@dataclass(frozen=True)
class Seen:
    """Real vectors (n, d) of images at one set of frequencies, scaled so that their noise has unit variance."""

    first: Tensor
    second: Tensor

    @property
    def both(self) -> tuple[Tensor, Tensor]:
        """At the first and at the second set."""
        return self.first, self.second


@dataclass(frozen=True)
class Scale:
    """What turns spectra into comparable numbers: weights (box, half) at both sets, and how bright images are there."""

    weights: tuple[Tensor, Tensor]
    brightness: tuple[float, float] = (1.0, 1.0)

    def __call__(self, spectra: Tensor) -> Seen:
        """The vectors of spectra (n, box, half)."""
        parts = []
        for weights in self.weights:
            inside = weights > 0
            scaled = spectra[:, inside] * weights[inside].sqrt()
            parts.append(torch.view_as_real(scaled).flatten(1))
        return Seen(*parts)


def measure_scale(model: HeterogeneityModel, mean: Tensor, batches: list[Batch]) -> Scale:
    """The noise's power ring by ring, and the images' brightness, from a sample of images and the mean structure.

    Frequencies weigh by how often they stand in the full spectrum, over the noise's power; all by the part of the
    image that its round edge leaves, for noise on neighbouring frequencies is not quite independent.
    """
    box = model.projector.grid.box
    rows, columns = integer_frequencies(box, mean.device)
    ring = (rows.square() + columns.square()).float().sqrt().round().long()
    flat, count = ring.flatten(), int(ring.max()) + 1
    kept = model.frequency_weights > 0

    def by_ring(values: Tensor) -> Tensor:
        return torch.zeros(count, dtype=torch.float64, device=mean.device).index_add_(
            0, flat, values.double().flatten()
        )

    sums = torch.zeros(4, count, dtype=torch.float64, device=mean.device)
    for batch in batches:
        predicted, observed = model.generative(mean, batch), batch.spectra
        product = (predicted.conj() * observed).real.sum(0)
        powers = [one.abs().square().sum(0) for one in (observed, predicted)]
        sums += torch.stack([by_ring(x) for x in (product, *powers, torch.full_like(product, float(len(batch))))])
    product, observed_power, power, numbers = sums
    inside = torch.unique(ring[kept])
    scale = float(product[inside].sum() / power[inside].sum().clamp_min(1e-30))
    noise = (observed_power - 2 * scale * product + scale**2 * power) / numbers.clamp_min(1)
    noise = torch.maximum(noise, 1e-3 * noise[inside].mean()).float()
    area = float(model.independent_pixels() / model.frequency_weights.sum())
    weights = area * model.frequency_weights / noise[ring]
    sets = two_sets(box)
    found = Scale((weights * sets[0].to(mean.device), weights * sets[1].to(mean.device)))
    total, images = torch.zeros(2, dtype=torch.float64), 0
    for batch in batches:
        predicted = model.generative(mean, batch)
        pairs = zip(found(predicted).both, found(batch.spectra).both, strict=True)
        total += torch.stack([(unit(p)[0] * y).sum().double().cpu() for p, y in pairs])
        images += len(batch)
    return replace(found, brightness=(float(total[0]) / images, float(total[1]) / images))


def unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (n, d) of length 1, and what they were divided by (n, 1)."""
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min(1e-20)
    return vectors / length, length


class View:
    """A batch of images at both sets of frequencies, and how they change where the whole molecule turns or shifts."""

    def __init__(self, model: HeterogeneityModel, scale: Scale, mean: Tensor, batch: Batch) -> None:
        self.model, self.scale, self.batch = model, scale, batch
        self.observed = scale(batch.spectra).both
        middle = model.generative(mean, batch)
        units = [unit(part) for part in scale(middle).both]
        self.slopes: list[Tensor] = []
        changes = [scale(change).both for change in self._changes(mean, middle)]
        for which, (direction, length) in enumerate(units):
            raw = torch.stack([change[which] for change in changes], dim=1) / length[:, None]
            along = (raw @ direction[..., None]) * direction[:, None]
            self.slopes.append((raw - along) * scale.brightness[which])
        expected = torch.diag(mean.new_tensor([TURN**-2] * 3 + [SHIFT**-2] * 2))
        self.inverses = [torch.linalg.inv(one @ one.mT + expected) for one in self.slopes]

    def _changes(self, mean: Tensor, middle: Tensor) -> list[Tensor]:
        """Of the mean structure's spectra, per radian about the image's x, y and z axes, and per Å along x and y."""
        found = []
        for axis in torch.eye(3, device=mean.device):
            sides = []
            for step in (_STEP, -_STEP):
                cross = torch.linalg.cross(axis.expand(3, 3), torch.eye(3, device=mean.device)).mT
                turn = torch.matrix_exp(step * cross)
                turned = replace(self.batch, rotations=turn @ self.batch.rotations)
                sides.append(self.model.generative(mean, turned))
            found.append((sides[0] - sides[1]) / (2 * _STEP))
        grid = self.model.projector.grid
        fy, fx = frequency_components(grid.box, grid.pixel_size, mean.device)
        return [*found, -2j * math.pi * fx * middle, -2j * math.pi * fy * middle]

    def predictions(self, structures: Tensor) -> tuple[Tensor, Tensor]:
        """What structures, (R, 3) or one per image, would show at both sets, at the images' usual brightness."""
        seen = self.shown(structures)
        first, second = (unit(part)[0] * b for part, b in zip(seen, self.scale.brightness, strict=True))
        return first, second

    def shown(self, structures: Tensor, occupancies: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same as bright as they come out, of as much of each residue as `occupancies` (n, R) say."""
        return self.scale(self.model.generative(structures, self.batch, occupancies)).both

    def _pose(self, predicted: Tensor, which: int) -> tuple[Tensor, Tensor]:
        """Gradient of the log-probability by the five numbers of a pose, and the pose that is best for one set."""
        gradient = (self.slopes[which] @ (self.observed[which] - predicted)[..., None])[..., 0]
        return gradient, (self.inverses[which] @ gradient[..., None])[..., 0]

    def fit(self, predicted: Tensor, which: int) -> Tensor:
        """Log-probability in nats, (n,), of what is observed at one set, over all poses near the given one."""
        gradient, best = self._pose(predicted, which)
        return (predicted * self.observed[which]).sum(1) + 0.5 * (gradient * best).sum(1)

    def foretold(self, predictions: tuple[Tensor, Tensor], which: int) -> Tensor:
        """Log-probability in nats, (n,), of what is observed at the other set, with the pose that set `which` likes."""
        _, pose = self._pose(predictions[which], which)
        other = 1 - which
        predicted = predictions[other] + (pose[:, None] @ self.slopes[other])[:, 0]
        return (predicted * self.observed[other]).sum(1) - 0.5 * predicted.square().sum(1)
