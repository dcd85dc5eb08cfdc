"""A model file placed in a map file."""

from __future__ import annotations

from pathlib import Path

from cryosphere.errors import StructureError
from cryosphere.maps.files import read_map
from cryosphere.maps.fitting.placing import fit_model
from cryosphere.maps.fitting.results import Fit, FitSettings
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model

_ENDINGS = (".cif", ".mmcif", ".cif.gz", ".mmcif.gz")


def fit(
    model: Path,
    density_map: Path,
    output: Path,
    settings: FitSettings | None = None,
    *,
    progress: Progress = SILENT,
    overwrite: bool = False,
) -> Fit:
    """Place a model in a map and write it there with all its atoms, as mmCIF.

    model: PDB or mmCIF; density_map: MRC or CCP4. With the frame "map" the written model overlays the map in other
    programs; with "box" its origin is the centre of the map's box, which is what training wants.

    Raises:
        InputError: for a model, map or setting that cannot be used (see `fit_model`), an output that is no mmCIF or
            exists already (unless `overwrite`).
    """
    _require_new_model(output, overwrite=overwrite)
    atoms = read_model(model)
    settings = settings or FitSettings()
    found = fit_model(atoms, read_map(density_map), settings, progress)
    write_model(output, atoms, found.positions if settings.frame == "map" else found.in_box_frame)
    return found


def _require_new_model(path: Path, *, overwrite: bool) -> None:
    if not path.name.lower().endswith(_ENDINGS):
        raise StructureError(f"{path}: structures are written as mmCIF; give the file a name that ends in .cif")
    if not path.parent.is_dir():
        raise StructureError(f"{path}: there is no folder {path.parent}; make it first")
    if path.is_dir() or (path.exists() and not overwrite):
        raise StructureError(f"{path} exists already; choose another name, or allow it to be replaced (--overwrite)")
