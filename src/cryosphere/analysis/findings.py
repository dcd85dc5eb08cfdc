"""What a run found, in figures, and what speaks against believing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryosphere.analysis.bodies import Body
from cryosphere.analysis.bonds import BondLengths
from cryosphere.analysis.motions import batches
from cryosphere.analysis.movement import SegmentMovement
from cryosphere.analysis.occupancy import ResidueOccupancy
from cryosphere.analysis.pca import PrincipalComponents
from cryosphere.analysis.segments import Segmentation
from cryosphere.fourier import from_spectrum, to_spectrum, up_to
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.formation import particle_images
from cryosphere.imaging.grid import ImageGrid
from cryosphere.training.build import finest_compared
from cryosphere.training.moving_parts import MovingParts

if TYPE_CHECKING:
    from cryosphere.training.trained import TrainedModel

Float = NDArray[np.float64]
SMALL_SET = 200  # images; below this, hardly any motion can be told from noise
NEGLIGIBLE_MOTION = 0.25  # of a pixel of the images as trained on
_PIXELS_PER_BATCH = 4_000_000
FEW_HELD_OUT = 10  # images
LIKE_THE_MODEL = 0.4  # of the correlation with the moving structures: below, the base structure is not in the images
_DOUBT_IN_NOTES = ("clearly enough", "look whether", "contradict", "negatively")
NEGLIGIBLE_FALL = 0.02  # of the held-out correlation: smaller falls are taken for chance


@dataclass(frozen=True)
class HeldOutFit:
    """How well held-out images are predicted: by the deformed structures, and by the undeformed model."""

    deformed: float  # mean correlation
    undeformed: float
    gain_error: float  # standard error of the difference
    images: int

    @property
    def gain(self) -> float:
        return self.deformed - self.undeformed

    @property
    def improved(self) -> bool:
        """Whether the gain is more than twice its standard error, on enough images to tell."""
        return self.images >= FEW_HELD_OUT and self.gain > 2 * self.gain_error


@dataclass(frozen=True)
class Findings:
    """Everything that the report says in words."""

    images: int
    box: int
    pixel_size: float
    segmentation: Segmentation
    components: PrincipalComponents
    bodies: tuple[tuple[int, ...], ...]  # segments that move as one, largest first; -1: held fixed
    reference: Body
    along_pc1: SegmentMovement
    residue_movement: Float  # (R,) Å
    certainty: float  # spread of the latents along PC1 over their typical posterior standard deviation
    fit: HeldOutFit | None
    metrics: pd.DataFrame
    base_correlation: float | None  # of the images with the undeformed model, as training measures it
    bonds: BondLengths | None = None  # None: no protein chain
    notes: tuple[str, ...] = ()  # what was chosen before training, and why
    moving_parts: MovingParts | None = None  # where the number of segments was left to the images: the bodies
    occupancy: ResidueOccupancy | None = None  # None: not learned

    @property
    def moving(self) -> list[int]:
        """Used segments that are no part of the reference, the one that moves most first."""
        others = [int(s) for s in self.segmentation.used if s not in self.reference.segments]
        return sorted(others, key=lambda s: -float(self.along_pc1.residue_rms[s]))


def latent_certainty(sd: NDArray[np.floating], components: PrincipalComponents) -> float:
    """Standard deviation of the latents along PC1, over the root mean square of their posterior one along it."""
    direction = components.directions[0]
    posterior = float(np.sqrt(np.mean((np.asarray(sd, dtype=np.float64) * direction) ** 2 @ np.ones(len(direction)))))
    spread = float(np.sqrt(components.variances[0]))
    return spread / posterior if posterior > 0 else float("inf") if spread > 0 else 0.0


def held_out_fit(model: TrainedModel, limit: int = 400) -> HeldOutFit | None:
    """Compare deformed and undeformed model on the held-out images; None where no image was held out.

    Latents are the encoder's own answers: a second look has compared each image it mended with many structures, which
    is no longer a prediction. Both predictions are compared with the images in the same way: over all pixels, in all
    detail that training compares, without the further filters that it may have used.
    """
    rows = np.asarray(model.validation_rows, dtype=np.int64)
    if len(rows) == 0:
        return None
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(int))]
    size = int(np.clip(_PIXELS_PER_BATCH // model.image_grid.box**2, 1, 256))
    z = model.encode(rows, mended=False).mean
    parts = [_both_correlations(model, rows[part], z[part]) for part in batches(len(rows), size)]
    deformed, undeformed = np.concatenate(parts, axis=1)
    error = float(np.std(deformed - undeformed, ddof=1) / np.sqrt(len(rows))) if len(rows) > 1 else float("inf")
    return HeldOutFit(float(deformed.mean()), float(undeformed.mean()), error, len(rows))


def _both_correlations(model: TrainedModel, rows: NDArray[np.int64], z: NDArray[np.floating]) -> Float:
    """Correlations (2, n) of images with the predictions of their structures, and of the undeformed model."""
    observed, predicted = (np.asarray(images) for images in model.image_pairs(rows, z))
    beads, table = model.atomic_model.beads, model.table[rows]
    base = particle_images(
        torch.as_tensor(beads.positions, dtype=torch.float32),
        torch.as_tensor(beads.amplitudes, dtype=torch.float32),
        torch.as_tensor(table.rotations, dtype=torch.float32),
        torch.zeros(len(rows), 2),
        CtfParameters.from_table(table),
        (model.image_grid, model.config.beads.sigma),
    ).numpy()
    finest = finest_compared(model.config)
    if finest is not None:
        observed = _without_finer(observed, finest, model.image_grid)
    return np.stack([correlations(predicted, observed), correlations(base, observed)])


def _without_finer(images: NDArray[np.floating], resolution: float, grid: ImageGrid) -> NDArray[np.floating]:
    """Images without the detail that the predictions do not have."""
    kept = up_to(grid.box, grid.pixel_size, resolution)
    return from_spectrum(to_spectrum(torch.as_tensor(images)) * kept, grid.box).numpy()


def correlations(first: NDArray[np.floating], second: NDArray[np.floating]) -> Float:
    """Correlation (n,) of images (n, box, box) with each other over all pixels; 0 where one is constant."""
    a = first.reshape(len(first), -1).astype(np.float64)
    b = second.reshape(len(second), -1).astype(np.float64)
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.asarray(np.where(norm > 0, (a * b).sum(axis=1) / np.where(norm > 0, norm, 1.0), 0.0))


def warnings(findings: Findings) -> list[str]:
    """Plain sentences about what should make the reader doubt the motion; empty where nothing does."""
    found = [
        _few_images(findings),
        *_notes_of_doubt(findings.notes),
        _wrong_model(findings),
        _negative(findings),
        _one_segment(findings),
        _small_motion(findings),
        _uncertain_latents(findings),
        _overfitting(findings.metrics),
        _not_worth_its_cost(findings.metrics),
        _no_gain(findings.fit),
    ]
    return [sentence for sentence in found if sentence]


def _few_images(findings: Findings) -> str:
    if findings.images >= SMALL_SET:
        return ""
    many = "images were" if findings.images > 1 else "image was"
    return (
        f"Only {findings.images} {many} used. That is too few to tell motion from noise: take everything below as a "
        "check that the software runs."
    )


def _notes_of_doubt(notes: tuple[str, ...]) -> list[str]:
    return [f"Noted before training: {note}." for note in notes if any(word in note for word in _DOUBT_IN_NOTES)]


def _undeformed_and_moving(findings: Findings) -> tuple[float, float, str] | None:
    """Correlations with the undeformed model and with the moving structures, and of which images."""
    fit, trained = findings.fit, findings.metrics.get("train_mean_correlation")
    if fit is not None and fit.images >= FEW_HELD_OUT:
        return fit.undeformed, fit.deformed, "held-out images"
    if findings.base_correlation is None or trained is None or len(trained) == 0 or not np.isfinite(trained.iloc[-1]):
        return None
    return findings.base_correlation, float(trained.iloc[-1]), "training images"


def _wrong_model(findings: Findings) -> str:
    known = _undeformed_and_moving(findings)
    if known is None or known[0] >= LIKE_THE_MODEL * known[1]:
        return ""
    undeformed, moving, which = known
    return (
        f"The undeformed model does not look like the images: it correlates by {undeformed:.4f} with the {which}, the "
        f"moving structures by {moving:.4f}. Is it the wrong model, wrongly placed, of the other hand, or is the pixel "
        'size wrong? Large "motions" may only be the model bending towards images of something else. '
        "`cryosphere project` makes images of the undeformed model to compare with."
    )


def _negative(findings: Findings) -> str:
    fit, base = findings.fit, findings.base_correlation
    if fit is not None and fit.deformed < 0:
        return (
            f"The moving structures correlate negatively ({fit.deformed:.4f}) with the held-out images: the model has "
            "learned nothing that holds for them. Look at the contrast, the poses and the pixel size."
        )
    if base is not None and base < 0:
        return (
            f"Before training, the images correlated negatively ({base:.4f}) with the undeformed model: the contrast "
            "is likely wrong (images.contrast), or model and poses do not belong together."
        )
    return ""


def _one_segment(findings: Findings) -> str:
    if len(findings.segmentation.used) > 1:
        return ""
    return "All residues belong to one segment: the run found no parts that move relative to each other."


def _small_motion(findings: Findings) -> str:
    if not findings.moving and len(findings.segmentation.used) > 1:
        return (
            f"Between the ends of the traversals all segments move as one, to within half a pixel "
            f"({findings.pixel_size / 2:.2f} Å RMS): hardly a motion that these images could show."
        )
    if not findings.moving:
        return ""
    largest = max(float(findings.along_pc1.residue_rms[s]) for s in findings.moving)
    limit = NEGLIGIBLE_MOTION * findings.pixel_size
    if largest >= limit:
        return ""
    return (
        f"The largest movement along the first principal component is about {largest:.2f} Å, less than a quarter of "
        f"a pixel ({findings.pixel_size:.2f} Å): too little for these images to show. Treat the molecule as rigid."
    )


def _uncertain_latents(findings: Findings) -> str:
    if findings.certainty >= 1.0:
        return ""
    if findings.certainty < 0.1:
        return (
            "The latents have collapsed: they hardly differ between images, so all images get nearly the same "
            "structure. Less weight on the KL term, more images or another seed may help; or nothing moves."
        )
    return (
        f"Along the first principal component the images spread only {findings.certainty:.1f} times as far as the "
        "uncertainty of a single image. The motion may be real on average, but the place of one image on it is mostly "
        "a guess."
    )


def _overfitting(metrics: pd.DataFrame) -> str:
    if not {"train_mean_correlation", "validation_correlation"} <= set(metrics.columns):
        return ""
    train = metrics["train_mean_correlation"].to_numpy(dtype=np.float64)
    held_out = metrics["validation_correlation"].to_numpy(dtype=np.float64)
    if len(held_out) < 2 or not np.isfinite(held_out).all():
        return ""
    best = int(np.argmax(held_out))
    fell = held_out[best] - held_out[-1]
    if fell <= NEGLIGIBLE_FALL * abs(held_out[best]) or train[-1] <= train[best]:
        return ""
    epoch = metrics["epoch"].iloc[best] if "epoch" in metrics else best + 1
    return (
        f"Overfitting: the correlation with held-out images fell from {held_out[best]:.4f} (epoch {epoch}) to "
        f"{held_out[-1]:.4f} while that with the training images went on rising. Train for fewer epochs, with fewer "
        "segments, or with more weight on the KL term."
    )


def _not_worth_its_cost(metrics: pd.DataFrame) -> str:
    if "validation_gain" not in metrics.columns or not len(metrics):
        return ""
    gain = float(pd.to_numeric(metrics["validation_gain"], errors="coerce").iloc[-1])
    if not np.isfinite(gain) or gain > 0:
        return ""
    return (
        f"One structure for all explains held-out images better than the motion does, by {abs(gain):.2f} nats per "
        "image once the latents' divergence is charged: the motion is not in these images, or drowned in their noise."
    )


def _no_gain(fit: HeldOutFit | None) -> str:
    if fit is None or fit.improved:
        return ""
    if fit.images < FEW_HELD_OUT:
        return (
            f"The training saw all but {fit.images} of the images: too few to say whether the moving structures "
            "predict images better than the undeformed model does."
        )
    return (
        f"Held-out images ({fit.images}) are not predicted better by the moving structures (correlation "
        f"{fit.deformed:.4f}) than by the undeformed model ({fit.undeformed:.4f}; difference {fit.gain:+.4f} ± "
        f"{fit.gain_error:.4f}). The motion is not supported by images that the training did not see."
    )
