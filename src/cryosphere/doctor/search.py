"""The search for the reading of the files that explains the images.

A fault is certain when the images fit better, by many standard errors and by a margin that matters, if one thing is
taken otherwise. The best such explanation is adopted and the rest is examined anew under it, so that two faults at once
are both found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from cryosphere.doctor.comparing import Examiner
from cryosphere.doctor.offset import best_offset, starting_places
from cryosphere.doctor.readings import Alternative, Reading, alternatives
from cryosphere.progress import SILENT, Progress

SCREENED = 500  # images on which all alternatives are tried; the best are then tried on all
FINALISTS = 3
CERTAIN = 6.0  # standard errors
MATTERS = 0.03  # of the correlation, by which an explanation must better it
SCALES = tuple(round(0.9 + 0.02 * k, 2) for k in range(11))
SCALE_MATTERS = 0.02  # smaller errors of the pixel size are within what models and motions do
SCALED_MODEL_MATTERS = 0.1  # of the correlation, if only the model is of another size: motions bring up to 0.03
FINE = 20.0  # Å: coarser detail shows the outline, which motions change; parts that move are blurred in finer detail
OFFSET_MATTERS = 4.0  # Å; motions and missing parts move a centre by some
MOST_FAULTS = 4
_LIKE_DEFOCUS = "; defoci that are all too large or too small look alike, so see that the CTFs are right"


@dataclass(frozen=True)
class Trial:
    """How well the images fit an alternative, beside the reading that it departs from."""

    alternative: Alternative
    correlation: float  # mean over the images, positive, in all detail: what ranks explanations
    after: float  # the same in the detail by which this alternative is judged,
    before: float  # and under the reading departed from
    sigmas: float  # their difference in standard errors

    @property
    def is_certain(self) -> bool:
        """Whether this explains the images so much better that the files must be wrong."""
        return self.sigmas > CERTAIN and self.gain > MATTERS and self._matters()

    @property
    def gain(self) -> float:
        """Of the correlation, relative."""
        return self.after / max(self.before, 1e-9) - 1

    def _matters(self) -> bool:
        reading = self.alternative.reading
        match self.alternative.fault:
            case "pixel-size":
                different = abs(reading.scale - 1) >= SCALE_MATTERS
                return different and (reading.scale_ctf or self.gain > SCALED_MODEL_MATTERS)
            case "model-offset":
                return float(np.linalg.norm(reading.offset)) >= OFFSET_MATTERS
        return True


@dataclass(frozen=True)
class Search:
    """What was tried, and what was adopted."""

    reading: Reading
    sign: float  # 1 where protein is bright in the stack, -1 where it is dark
    values: NDArray[np.float64]  # (n,), correlation of each image with its projection, taken as white
    adopted: tuple[Trial, ...]
    trials: tuple[Trial, ...]  # against the files as they are written, on some of the images
    scales: tuple[tuple[float, float], ...]  # pixel size in Å, mean correlation


def search(examiner: Examiner, progress: Progress = SILENT) -> Search:
    """Find the reading that explains the images."""
    screen = examiner.on(SCREENED)
    reading, first = Reading(), None
    adopted: list[Trial] = []
    for number in range(MOST_FAULTS):
        words = "trying other readings" + (", beside what was found" if number else " of the files")
        trials, scales = _round(screen, reading, {trial.alternative.fault for trial in adopted}, words, progress)
        first = first or (tuple(trials), scales)
        best = sorted(trials, key=lambda trial: -trial.correlation)[:FINALISTS]
        confirmed = [_trial(examiner, reading, trial.alternative) for trial in best]
        certain = [trial for trial in confirmed if trial.is_certain]
        if not certain:
            break
        adopted.append(max(certain, key=lambda trial: trial.correlation))
        reading = adopted[-1].alternative.reading
    values = examiner.correlations(reading)
    assert first is not None
    return Search(reading, 1.0 if values.mean() >= 0 else -1.0, values, tuple(adopted), *first)


def _round(
    screen: Examiner, reading: Reading, known: set[str], words: str, progress: Progress
) -> tuple[list[Trial], tuple[tuple[float, float], ...]]:
    """Try everything that differs from a reading in one thing, apart from known faults."""
    others = [one for one in alternatives(reading, screen.sample.table) if one.fault not in known]
    places = [] if "model-offset" in known else starting_places(screen, reading)
    sizes = "pixel-size" not in known
    steps = len(others) + 2 * len(places) + (2 * len(SCALES) if sizes else 0)
    scales: tuple[tuple[float, float], ...] = ()
    with progress.track(steps, words) as advance:
        if sizes:
            found, scales = _best_scales(screen, reading, advance)
            others += found
        for place in places:
            others.append(_offset(best_offset(screen, place), place))
            advance(1)
        trials = []
        for one in others:
            trials.append(_trial(screen, reading, one))
            advance(1)
    return trials, scales


def _trial(examiner: Examiner, reading: Reading, alternative: Alternative) -> Trial:
    """Compare an alternative with the reading that it departs from.

    Either may be of dark protein: the clearer the sign of the mean, the clearer the fit.
    """
    judge = examiner.finer_than(FINE) if alternative.fault == "pixel-size" else examiner
    before, after = (_clearer(judge.correlations(one)) for one in (reading, alternative.reading))
    all_detail = after if judge is examiner else _clearer(examiner.correlations(alternative.reading))
    gain, error = mean_and_error(after - before)
    sigmas = gain / error if error > 0 else float(np.sign(gain)) * np.inf if gain else 0.0
    sigmas = float(sigmas) * trust(len(examiner.sample))
    return Trial(alternative, float(all_detail.mean()), float(after.mean()), float(before.mean()), sigmas)


def _clearer(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values * (1.0 if values.mean() >= 0 else -1.0)


def trust(images: int) -> float:
    """What CERTAIN standard errors are worth where these are estimated from few images (Student's t), at most 1."""
    rare = float(norm.sf(CERTAIN))
    return CERTAIN / float(student.isf(rare, images - 1)) if images > 1 else 0.0


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and its standard error."""
    error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.inf
    return float(values.mean()), error


def _best_scales(
    screen: Examiner, reading: Reading, advance: Callable[[int], None]
) -> tuple[list[Alternative], tuple[tuple[float, float], ...]]:
    """The pixel sizes that fit best, and the curve along which one was found.

    Either the transfer functions were estimated with the written pixel size, and only the model has another size than
    its images; or they were with the true one, as when a particle file was changed afterwards or simulated. Then their
    rings tell the size to some parts in a thousand, whatever moves in the molecule.
    """
    written = screen.sample.table.pixel_size
    fine = screen.finer_than(FINE)
    found, curve = [], np.zeros(0)
    for with_ctf in (False, True):
        tried = [replace(reading, scale=scale, scale_ctf=with_ctf) for scale in SCALES]
        curve = np.array([abs(fine.correlations(one).mean()) for one in tried])
        advance(len(SCALES) - 1)  # the best is tried once more
        scale = round(_peak(np.array(SCALES), curve), 4)
        found.append(_other_size(replace(reading, scale=scale, scale_ctf=with_ctf), written))
    return found, tuple((written / s, float(value)) for s, value in zip(SCALES, curve, strict=True))


def _other_size(reading: Reading, written: float) -> Alternative:
    size = written / reading.scale
    what = "the images" if reading.scale_ctf else "the model"
    return Alternative(
        "pixel-size",
        reading,
        f"{what} fit{'' if reading.scale_ctf else 's'} best with pixels of {size:.3f} Å; the file says {written:.3f} Å",
        f"correct the pixel size to {size:.3f} Å" + (_LIKE_DEFOCUS if reading.scale_ctf else ""),
    )


def _peak(places: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Where a curve is highest, by the parabola through the highest of its values and their neighbours."""
    k = int(values.argmax())
    if not 0 < k < len(values) - 1:
        return float(places[k])
    low, middle, high = values[k - 1 : k + 2]
    bend = low - 2 * middle + high
    return float(places[k] + (0.5 * (low - high) / bend if bend < 0 else 0.0) * (places[1] - places[0]))


def _offset(offset: tuple[float, float, float], place: Reading) -> Alternative:
    x, y, z = offset
    length = float(np.linalg.norm(offset))
    return Alternative(
        "model-offset",
        replace(place, offset=offset),
        f"the model fits best when moved by ({x:.1f}, {y:.1f}, {z:.1f}) Å, {length:.1f} Å in all",
        f"move the model by ({x:.1f}, {y:.1f}, {z:.1f}) Å, or fit it into the consensus map (`cryosphere prepare` "
        "does); its origin must be the centre of the box",
    )
