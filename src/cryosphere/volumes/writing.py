"""A folder of volumes: maps, tables and structures, all of them or none."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import MapError
from cryosphere.files import can_hold_files, saying_where_the_disk_is_full
from cryosphere.maps.files import write_map
from cryosphere.maps.resolution import Resolution, resolution_at
from cryosphere.training.run_directory import RunDirectory
from cryosphere.volumes.kernel import KernelVolume
from cryosphere.volumes.state import StateVolume

TABLE, CURVES, BANDWIDTHS, LATENTS = "volumes.csv", "fsc.csv", "bandwidths.csv", "z.npy"
_OURS = re.compile(
    r"(volume_[0-9]+(_half[12])?\.mrc|difference_[0-9]+\.mrc|volumes\.csv|fsc\.csv|bandwidths\.csv|z\.npy|structures"
    r"|support(_segments)?\.csv|bias\.html|(support|correlation|state_[0-9]+)\.png)"
)
_STRUCTURE = re.compile(r"structure_[0-9]+\.cif")


def check_folder(outdir: Path, *, overwrite: bool) -> None:
    """Make sure, before any work, that volumes can be written to a folder.

    Raises:
        MapError: for a file of that name, a run, a place that cannot be written to, or a folder that holds volumes
            already (unless `overwrite`).
    """
    if outdir.exists() and not outdir.is_dir():
        raise MapError(f"{outdir} is a file, and a folder is needed for the volumes; choose another name")
    if RunDirectory(outdir).is_occupied():
        raise MapError(f"{outdir} is a run; its files and volumes do not mix: choose another --outdir")
    if not (can_hold_files(outdir) and can_hold_files(outdir.absolute().parent)):
        raise MapError(f"{outdir}: no folder can be made or changed there; choose another (--outdir)")
    structures = outdir / "structures"
    foreign = [path.name for path in structures.glob("*") if not _STRUCTURE.fullmatch(path.name)]
    if foreign:
        raise MapError(f"{structures} holds {foreign[0]}, which is not from here and would be lost; move it away")
    old = _ours_in(outdir)
    if old and not overwrite:
        raise MapError(
            f"{outdir} already holds {', '.join(path.name for path in old[:3])}{' …' if len(old) > 3 else ''}; choose "
            "another folder, or allow them to be replaced (--overwrite)"
        )


@contextmanager
def appearing(outdir: Path) -> Iterator[Path]:
    """A temporary folder whose files appear in `outdir` together at the end; if the block fails, nothing is left.

    Volumes that `outdir` holds are removed then, other files there stay. volumes.csv goes first and comes last: where
    it is, everything is.
    """
    outdir.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{outdir.name}-", dir=outdir.parent))
    folder.chmod(0o755)
    try:
        with saying_where_the_disk_is_full(outdir):
            yield folder
        if not outdir.exists():
            folder.rename(outdir)
            return
        for old in sorted(_ours_in(outdir), key=lambda path: path.name != TABLE):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        for new in sorted(folder.iterdir(), key=lambda path: path.name == TABLE):
            new.replace(outdir / new.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ours_in(outdir: Path) -> list[Path]:
    if not outdir.is_dir():
        return []
    return sorted(path for path in outdir.iterdir() if _OURS.fullmatch(path.name))


def write_maps(states: Sequence[StateVolume], folder: Path) -> None:
    """volume_000.mrc and its half-maps …, z.npy, and fsc.csv, in the order of the states."""
    np.save(folder / LATENTS, np.stack([state.z for state in states]).astype(np.float32))
    for number, state in enumerate(states):
        for ending, volume in (("", state.map), ("_half1", state.half1), ("_half2", state.half2)):
            write_map(folder / f"volume_{number:03d}{ending}.mrc", volume, state.grid.pixel_size)
    (folder / CURVES).write_text(_curves(states), encoding="utf-8")


def write_tables(volumes: Sequence[KernelVolume | StateVolume], folder: Path) -> None:
    """volumes.csv, a row for each volume; of kernel regression also bandwidths.csv, a row for each volume and shell."""
    heads = "volume,images_within_bandwidth,effective_images,bandwidth_angstrom,resolution_0.143,resolution_0.5"
    rows, widths = [heads], ["volume,shell,frequency_per_angstrom,bandwidth_angstrom"]
    for number, volume in enumerate(volumes):
        state = volume.state if isinstance(volume, KernelVolume) else volume
        at_half = resolution_at(state.curves.corrected, state.curves.frequencies, 0.5)
        share = ",,"  # of a network, which sees all images
        if isinstance(volume, KernelVolume):
            share = f"{volume.within},{volume.effective:.1f},{_number(float(state.bandwidth or np.inf))}"
            widths += [
                f"{number},{shell},{shell / state.grid.length:.8f},{_number(float(volume.bandwidths[shell]))}"
                for shell in range(1, len(volume.bandwidths))
            ]
        rows.append(f"{number},{share},{_angstrom(state.resolution)},{_angstrom(at_half)}")
    if len(widths) > 1:
        (folder / BANDWIDTHS).write_text("\n".join(widths) + "\n", encoding="utf-8")
    (folder / TABLE).write_text("\n".join(rows) + "\n", encoding="utf-8")


def _number(value: float) -> str:
    return "inf" if np.isinf(value) else f"{value:.4f}"


def _angstrom(found: Resolution) -> str:
    """In Å; empty where the halves agree nowhere."""
    return "" if found.kind == "none" else f"{found.angstrom:.3f}"


def _curves(states: Sequence[StateVolume]) -> str:
    columns = ("unmasked", "masked", "phase_randomised", "corrected")
    lines = [f"volume,shell,frequency_per_angstrom,resolution_angstrom,{','.join(f'fsc_{name}' for name in columns)}"]
    for number, state in enumerate(states):
        values: list[NDArray[np.float64]] = [getattr(state.curves, name) for name in columns]
        for shell in range(1, len(state.curves.frequencies)):
            frequency = state.curves.frequencies[shell]
            figures = ",".join(f"{column[shell]:.6f}" for column in values)
            lines.append(f"{number},{shell},{frequency:.8f},{1 / frequency:.4f},{figures}")
    return "\n".join(lines) + "\n"
