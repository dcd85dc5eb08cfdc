"""A short look by the doctor before a run is begun: a fault found later has cost a day."""

from __future__ import annotations

import logging

from cryosphere.doctor.examine import Examination
from cryosphere.errors import ParticleError
from cryosphere.progress import SILENT, Progress
from cryosphere.training.prepare import Inputs

log = logging.getLogger(__name__)


def require_sound(inputs: Inputs, progress: Progress = SILENT) -> None:
    """Make sure that the images fit the model's projections as the particle file describes them, if it can be told.

    With `particles.check` at "warn" what is wrong is only said, with "off" nothing is looked at.

    Raises:
        ParticleError: if another reading of the files explains the images better, for certain.
    """
    how = inputs.config.particles.check
    if how == "off":
        return
    faults = Examination(inputs.table, inputs.stacks, inputs.atomic_model, progress=progress).quick()
    if not faults:
        return
    found = ". ".join(f"{one.name}: {one.evidence}. {one.mend[:1].upper()}{one.mend[1:]}" for one in faults)
    if how == "warn":
        log.warning("%s: %s", inputs.table.source, found)
        return
    raise ParticleError(
        f"{inputs.table.source}: {found}. `cryosphere doctor` shows more; --no-check (or --set particles.check=warn) "
        "trains all the same"
    )
