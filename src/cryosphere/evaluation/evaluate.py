"""A run against the truth of the simulation it was trained on."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from cryosphere.errors import InputError
from cryosphere.evaluation.calibration import Claims, calibrate
from cryosphere.evaluation.candidates import find_candidates
from cryosphere.evaluation.comparison import compare, evenly, take_sample
from cryosphere.evaluation.domains import Domain, domains_of
from cryosphere.evaluation.figures import figures_of
from cryosphere.evaluation.fsc import SMALLEST_BOX, FscResult, FscSettings, fsc_of_run
from cryosphere.evaluation.matching import require_same_data
from cryosphere.evaluation.material import Material
from cryosphere.evaluation.oracle import Oracle, ask_oracle
from cryosphere.evaluation.page import write_page
from cryosphere.evaluation.results import Agreement, Evaluation, PerImage
from cryosphere.files import write_text
from cryosphere.particles.stacks import ImageStacks
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.truth import Truth, load_truth
from cryosphere.training.run_lock import results_alone
from cryosphere.training.trained import Latents, TrainedModel

log = logging.getLogger(__name__)

__all__ = ["Agreement", "Evaluation", "PerImage", "evaluate"]

ORACLE_CANDIDATES = 100


class ImageCounts(TypedDict, total=False):
    """Options of `evaluate`: how many images are looked at, spread evenly, for what is too costly for all."""

    oracle_images: int
    structure_images: int
    fsc_images: int
    fsc_box: int | None


@dataclass(frozen=True)
class _Counts:
    oracle_images: int = 1000
    structure_images: int = 1000
    fsc_images: int = 100
    fsc_box: int | None = None

    def __post_init__(self) -> None:
        if self.oracle_images < 0:
            raise InputError(f"the oracle cannot look at {self.oracle_images} images; 0 leaves it out")
        if self.fsc_images < 0:
            raise InputError(f"the FSC cannot be taken of {self.fsc_images} images; 0 leaves it out")
        if self.fsc_box is not None and self.fsc_box < SMALLEST_BOX:
            raise InputError(f"volumes of {self.fsc_box} voxels show nothing; the box takes {SMALLEST_BOX} or more")
        if self.structure_images < 1:
            raise InputError(f"structures of {self.structure_images} images cannot be judged; it takes one or more")


def evaluate(
    run: str | Path,
    truth: str | Path,
    *,
    domains: Sequence[str] = (),
    device: str = "auto",
    progress: Progress = SILENT,
    **images: Unpack[ImageCounts],
) -> Evaluation:
    """Compare every image's predicted structure with the true one; write RUN/evaluation.json and RUN/evaluation/.

    The processes of a job share the images; the first one writes, and each gets the result.

    Args:
        run: The run directory.
        truth: truth.npz of the simulation.
        domains: Groups of residues to measure between, such as "LID=A:122-159"; "CORE=rest" takes what no other names.
            By default those that the simulation moved.
        device: "auto", "cpu" or "cuda".
        progress: Shown how far everything is.
        **images: `oracle_images` (1000): how many images the oracle looks at; 0 leaves it out.
            `structure_images` (1000): how many structures are searched for local agreement, clashes and broken links,
            and for the truth within their intervals.
            `fsc_images` (100): how many volumes are compared with the true ones; 0 leaves it out.
            `fsc_box` (that of the images): voxels along their side, over the same field of view; CryoBench takes 128.

    Raises:
        InputError: if run and truth do not belong together, or a domain has no residues.
    """
    counts = _Counts(**images)
    model = TrainedModel.load(run, device=device, progress=progress)
    with ExitStack() as locks:
        with model.world.together():
            known = load_truth(truth)
            require_same_data(model, known)
            groups = domains_of(known, domains)
            locks.enter_context(results_alone(model.run, "evaluation"))
        return _evaluate(model, known, groups, counts, progress)


def _evaluate(
    model: TrainedModel, known: Truth, groups: list[Domain], counts: _Counts, progress: Progress
) -> Evaluation:
    latents = model.encode(progress=progress)
    figures = figures_of(known, groups)
    oracle = _ask_oracle(model, known, counts.oracle_images, progress) if counts.oracle_images else None
    compared = compare(model, known, latents.mean, figures, progress)
    fsc = _compare_volumes(model, known, latents, counts, progress) if counts.fsc_images else None
    error = model.structure_error(progress)
    with model.world.together():
        sample = take_sample(model, known, latents.mean, counts.structure_images, progress)
        material = Material(model, known, groups, latents, figures, oracle, compared, sample)
        calibration = calibrate(model, known, Claims(latents, error), figures, sample.rows, progress)
        summary = None if fsc is None else fsc.summary()
        result = replace(material.evaluation(), fsc=summary, calibration=calibration)
        if model.world.is_first:
            _write(material, result, fsc, progress)
    return result


def _write(material: Material, result: Evaluation, fsc: FscResult | None, progress: Progress) -> None:
    run = material.model.run
    per_image = material.per_image()
    per_image.save(run.root / "evaluation" / "figures.npz")
    write_text(run.evaluation, json.dumps(_plain(asdict(result)), indent=2) + "\n")
    page = write_page(run.root, result, per_image, fsc, material.strips(), progress)
    log.info("pictures and page: %s", page)


def _ask_oracle(model: TrainedModel, truth: Truth, images: int, progress: Progress) -> Oracle:
    rows = evenly(len(model.table), images)
    own = rows[model.world.piece(len(rows))]
    candidates = find_candidates(truth, ORACLE_CANDIDATES, model.atomic_model, model.world)
    with model.world.together():
        oracle = ask_oracle(truth, ImageStacks(model.table), own, candidates, model.device, progress)
    return oracle.gathered(model.world)


def _compare_volumes(
    model: TrainedModel, truth: Truth, latents: Latents, counts: _Counts, progress: Progress
) -> FscResult:
    settings = FscSettings(images=counts.fsc_images, box=counts.fsc_box)
    return fsc_of_run(model, truth, latents.mean, settings=settings, progress=progress)


def _plain(value: Any) -> Any:
    """NaN as null, so that the file is JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
