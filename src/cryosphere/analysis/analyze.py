"""Everything after training in one go: tables, traversals, pictures and the report, into RUN/analysis."""

from __future__ import annotations

import contextlib
import logging
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from cryosphere.analysis.bonds import bond_lengths
from cryosphere.analysis.chimerax import segment_commands
from cryosphere.analysis.findings import Findings, held_out_fit, latent_certainty
from cryosphere.analysis.gallery import draw_pictures
from cryosphere.analysis.motion_table import MotionTable
from cryosphere.analysis.motions import batches, relative_to
from cryosphere.analysis.movement import (
    atom_frames,
    between_ends,
    residue_movement,
    segment_motions,
    superposed_atom_frames,
)
from cryosphere.analysis.occupancy import residue_occupancy
from cryosphere.analysis.pca import PrincipalComponents
from cryosphere.analysis.report import Origin, render
from cryosphere.analysis.run import Run
from cryosphere.analysis.traversal import Clusters, Traversal, cluster, traverse
from cryosphere.analysis.uncertainty import own_sd, structure_writer, uncertainty_table
from cryosphere.errors import InputError
from cryosphere.evaluation.page import truth_section
from cryosphere.files import saying_where_the_disk_is_full
from cryosphere.progress import SILENT, Progress
from cryosphere.training.run_lock import results_alone
from cryosphere.training.spread import residue_sd

_LOG = logging.getLogger(__name__)
_ROWS_PER_BATCH = 100_000  # of motions.csv, formatted at once


@dataclass(frozen=True)
class AnalysisSettings:
    """How much `analyze` makes."""

    points: int = 10  # structures per traversal
    clusters: int = 10


def analyze(
    run: str | Path | Run,
    *,
    device: str = "auto",
    settings: AnalysisSettings | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Analyse a run and return the folder RUN/analysis, whose report.html tells what was found.

    The folder is built under another name and takes the place of an earlier analysis only when it is complete. The
    processes of a job share the encoding of the images; the first one does the rest.

    Raises:
        RunError: if the run directory is missing or damaged, or another process analyses or evaluates it.
        InputError: if the settings make no sense.
    """
    settings = settings or AnalysisSettings()
    if settings.points < 2 or settings.clusters < 0:
        raise InputError(f"a traversal needs at least 2 points and clusters cannot be negative, found {settings}")
    run = run if isinstance(run, Run) else Run(run, device=device, progress=progress)
    final, world = run.directory.analysis, run.model.world
    with ExitStack() as locks:
        with world.together():
            locks.enter_context(results_alone(run.directory, "analysis"))
        run.encode()
        with world.together(), run.model.working_alone():
            if world.is_first:
                with _replacing(final) as folder:
                    _build(run, folder, settings, progress)
    _LOG.info("report: %s", final / "report.html")
    return final


def _build(run: Run, folder: Path, settings: AnalysisSettings, progress: Progress) -> None:
    latents = run.latents
    components = run.components
    traversals = [traverse(latents, components, k, points=settings.points) for k in range(components.followed)]
    clusters = cluster(latents, settings.clusters) if settings.clusters else None
    _write_tables(run, folder, components, clusters, progress)
    _write_structures(run, folder, traversals, clusters, progress)
    findings = _find(run, components, traversals)
    _movement_table(run, findings).to_csv(folder / "movement.csv", index=False)
    if findings.occupancy is not None:
        findings.occupancy.table(_residues(run)).to_csv(folder / "occupancy.csv", index=False)
    uncertainty_table(run).to_csv(folder / "uncertainty.csv", index=False)
    pictures = draw_pictures(run, findings, traversals)
    (folder / "pictures").mkdir()
    for picture in pictures:
        (folder / "pictures" / picture.name).write_bytes(picture.png)
    files = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
    files.sort(key=lambda name: (name.count("/"), name))
    report = render(findings, pictures, files, _origin(run), truth_section(run.path))
    (folder / "report.html").write_text(report, encoding="utf-8")


@contextlib.contextmanager
def _replacing(final: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `final` at the end; on failure it vanishes and `final` stays as it was."""
    for left_over in final.parent.glob(f".{final.name}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    folder.chmod(0o755)
    earlier = folder.with_name(f"{folder.name}-earlier")
    try:
        with saying_where_the_disk_is_full(final):
            yield folder
        if final.exists():
            final.rename(earlier)
        try:
            folder.rename(final)
        except OSError:
            if earlier.exists():
                earlier.rename(final)
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)


def _write_tables(
    run: Run, folder: Path, components: PrincipalComponents, clusters: Clusters | None, progress: Progress
) -> None:
    np.save(folder / "z.npy", np.ascontiguousarray(run.latents, dtype=np.float32))
    np.save(folder / "z_sd.npy", np.ascontiguousarray(run.latent_sd, dtype=np.float32))
    run.segment_table.to_csv(folder / "segments.csv", index=False)
    run.residue_table.to_csv(folder / "segments_per_residue.csv", index=False)
    scores = components.project(run.latents)[:, :10]
    table = pd.DataFrame(scores.round(5), columns=[f"pc{k + 1}" for k in range(scores.shape[1])])
    table.insert(0, "image", np.arange(len(table)))
    table.insert(1, "image_name", _image_names(run))
    if clusters is not None:
        table["cluster"] = clusters.labels + 1
    table.to_csv(folder / "pca.csv", index=False)
    _write_motions(run, folder, progress)


def _image_names(run: Run) -> list[str]:
    """Of every particle, as in its star file: 000012@stack.mrcs is the twelfth image of the stack."""
    particles = run.particles
    places = zip(particles.image_index.tolist(), particles.stack_index.tolist(), strict=True)
    return [f"{image + 1:06d}@{particles.stacks[stack]}" for image, stack in places]


def _write_motions(run: Run, folder: Path, progress: Progress) -> None:
    latents, segmentation = run.latents, run.segmentation
    with (
        MotionTable(folder / "motions.csv") as absolute,
        MotionTable(folder / "motions_relative.csv") as relative,
        progress.track(len(latents), "writing motions") as advance,
    ):
        for part in batches(len(latents), max(1, _ROWS_PER_BATCH // segmentation.count)):
            rows = np.arange(part.start, part.stop)
            motions = segment_motions(run.model, segmentation, latents[part])
            absolute.append(motions, rows)
            relative.append(relative_to(motions, run.reference), rows)
            advance(len(rows))


def _write_structures(
    run: Run, folder: Path, traversals: list[Traversal], clusters: Clusters | None, progress: Progress
) -> None:
    sd = own_sd(run)
    writer = structure_writer(run, sure=sd is not None)
    total = len(traversals) + (len(clusters.rows) if clusters else 0)
    (folder / "traversals").mkdir()
    shown = "pc1" if run.reference.fixed else "pc1_superposed"
    commands = segment_commands(run.segmentation, f"traversals/{shown}.cif")
    (folder / "segments.cxc").write_text(commands, encoding="utf-8")
    with progress.track(total, "writing structures") as advance:
        for traversal in traversals:
            path = folder / "traversals" / f"{traversal.name}.cif"
            writer.write_all(path, atom_frames(run.model, traversal.latents), sd)
            if not run.reference.fixed:  # else the whole molecule does not move
                frames = superposed_atom_frames(run.model, run.segmentation, run.reference, traversal.latents)
                writer.write_all(path.with_stem(f"{path.stem}_superposed"), frames, sd)
            np.save(folder / "traversals" / f"{traversal.name}_z.npy", traversal.latents.astype(np.float32))
            advance(1)
        if clusters is None:
            return
        _write_clusters(run, folder / "clusters", clusters, advance)


def _write_clusters(run: Run, folder: Path, clusters: Clusters, advance: Callable[[int], None]) -> None:
    """The structure of the image nearest to the middle of each group, and how sure it is."""
    folder.mkdir()
    np.save(folder / "clusters_z.npy", clusters.latents.astype(np.float32))
    writer = structure_writer(run, sure=True)
    for number, positions in enumerate(atom_frames(run.model, clusters.latents)):
        latent, sd = clusters.latents[[number]], run.latent_sd[clusters.rows[[number]]]
        spread = residue_sd(run.model, latent, sd, run.structure_error)[0]
        writer.write(folder / f"cluster_{number + 1:02d}.cif", positions, spread)
        advance(1)


def _find(run: Run, components: PrincipalComponents, traversals: list[Traversal]) -> Findings:
    return Findings(
        images=len(run),
        box=run.model.image_grid.box,
        pixel_size=run.model.image_grid.pixel_size,
        segmentation=run.segmentation,
        components=components,
        bodies=run.bodies,
        reference=run.reference,
        along_pc1=between_ends(run.model, run.segmentation, run.reference, traversals[0].latents),
        residue_movement=residue_movement(run.model, run.segmentation, run.reference, run.latents),
        certainty=latent_certainty(run.latent_sd, components),
        fit=held_out_fit(run.model),
        metrics=run.metrics,
        base_correlation=run.facts.base_correlation if run.facts else None,
        notes=tuple(run.facts.notes) if run.facts else (),
        bonds=bond_lengths(run.model, traversals),
        occupancy=residue_occupancy(run),
        moving_parts=run.moving_parts,
    )


def _movement_table(run: Run, findings: Findings) -> pd.DataFrame:
    return _residues(run).assign(rms_displacement=findings.residue_movement.round(3))


def _residues(run: Run) -> pd.DataFrame:
    return run.residue_table[["chain", "residue", "insertion", "name", "segment"]].copy()


def _origin(run: Run) -> Origin:
    config = run.directory.config_path
    names = ("cryosphere", "torch", "numpy", "gemmi")
    return Origin(
        run=run.path.resolve().name,
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        model=f"model: {run.model.config.model}",
        particles="particles: " + ", ".join(map(str, run.model.config.particles.files)),
        settings=config.read_text(encoding="utf-8", errors="replace")
        if config.is_file()
        else "(config.yaml is missing)",
        notes=run.facts.notes if run.facts else (),
        versions={name: version(name) for name in names} | {"Python": platform.python_version()},
    )
