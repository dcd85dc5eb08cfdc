"""The examination: from files to a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cryosphere.doctor.comparing import Examiner
from cryosphere.doctor.diagnosis import Diagnosis, Finding
from cryosphere.doctor.examples import examples
from cryosphere.doctor.order import Belonging, belonging
from cryosphere.doctor.readings import Reading
from cryosphere.doctor.records import find_duplicates, implausible_optics, normalisation
from cryosphere.doctor.sample import chosen_rows, take_sample
from cryosphere.doctor.search import CERTAIN, Search, mean_and_error, search
from cryosphere.doctor.signal import signal
from cryosphere.doctor.wording import findings_of_search, of_contrast, of_duplicates, of_normalisation, of_order
from cryosphere.errors import ConfigError
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.model import AtomicModel, read_model

IMAGES = 2000
QUICK_IMAGES = 400
COMPARED_PAIRWISE = 1000  # images that are compared with the rows of others
MARGIN = 10.0  # Å between the outermost bead and what counts as background


def examine(
    particles: Sequence[str | Path],
    model: str | Path,
    *,
    datadir: str | Path | None = None,
    images: int = IMAGES,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Diagnosis:
    """Examine particles and the model that is to be trained on them.

    images: how many are looked at, drawn with the seed; all are if there are fewer. The origin of the model's frame is
    taken as the centre of the box.

    Raises:
        InputError: for files that cannot be read at all.
    """
    if images < 2:
        raise ConfigError(f"{images} image(s) asked for; the doctor needs at least 2 (--images) and wants {IMAGES:,}")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it is a whole number from 0 (--seed)")
    table = read_particles(list(particles))
    stacks = ImageStacks(table, datadir)
    return Examination(table, stacks, read_model(model), images, seed, progress).diagnosis()


@dataclass(frozen=True)
class Examination:
    """Particles and a model, to be examined."""

    table: ParticleTable
    stacks: ImageStacks
    model: AtomicModel
    images: int = QUICK_IMAGES
    seed: int = 0
    progress: Progress = SILENT

    def quick(self) -> list[Finding]:
        """What is certainly wrong with poses, shifts, sizes, optics and order; nothing else is looked at."""
        _, found, order = self._compare()
        findings = [*findings_of_search(found, self.table), of_order(order, found)]
        return [one for one in findings if one.verdict == "fault"]

    def diagnosis(self) -> Diagnosis:
        """Make all checks."""
        examiner, found, order = self._compare()
        records = self._of_records(examiner)
        values = found.sign * found.values
        mean, error = mean_and_error(values)
        return Diagnosis(
            findings=(
                of_contrast(found, self.table),
                *findings_of_search(found, self.table),
                of_order(order, found),
                *records,
            ),
            trials=found.trials,
            scales=found.scales,
            reading=found.reading,
            contrast="unknown" if mean < CERTAIN * error else "white" if found.sign > 0 else "black",
            correlation=mean,
            correlation_error=error,
            signal=signal(examiner, found.reading, found.sign),
            images=len(examiner.sample),
            of=len(self.table),
            correlations=values,
            examples=examples(examiner, found.reading, found.sign),
        )

    def _compare(self) -> tuple[Examiner, Search, Belonging]:
        """The reading that explains the images, and whether they belong to their rows under it."""
        examiner = self._examiner()
        found = search(examiner, self.progress)
        order = belonging(examiner.on(COMPARED_PAIRWISE), found.reading, found.sign)
        if order.says_nothing and found.adopted:  # what fits a mean image better is no explanation
            found = replace(found, adopted=(), reading=Reading(), values=examiner.correlations(Reading()))
        return examiner, found, order

    def _examiner(self) -> Examiner:
        beads = self.model.beads
        centre = np.average(beads.positions, axis=0, weights=beads.amplitudes)
        radius = float(np.linalg.norm(beads.positions - centre, axis=1).max()) + MARGIN
        rows = chosen_rows(len(self.table), self.images, self.seed)
        return Examiner(take_sample(self.table, self.stacks, rows, radius, self.progress), beads)

    def _of_records(self, examiner: Examiner) -> list[Finding]:
        """What can be told without the model."""
        sample = examiner.sample
        grey = normalisation(sample.background_mean, sample.background_deviation, sample.deviation)
        duplicates = find_duplicates(self.table, self.stacks, self.seed, self.progress)
        implausible = [Finding(name, "fault", what, _OPTICS_MEND) for name, what in implausible_optics(self.table)]
        if not implausible:
            implausible = [
                Finding("optics", "sound", "voltage, aberration, amplitude contrast and defocus are plausible")
            ]
        return [of_normalisation(grey), of_duplicates(duplicates), *implausible]


_OPTICS_MEND = "look where the CTFs were estimated: kV, mm, and Å of underfocus are expected"
