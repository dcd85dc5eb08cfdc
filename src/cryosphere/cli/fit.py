"""`cryosphere fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cryosphere.cli.options import Flag


def fit(
    *,
    model: Path,
    map_: Annotated[Path, Parameter(name="--map")],
    output: Path,
    resolution: float | None = None,
    local: Flag = False,
    hand: Literal["as-given", "both"] | None = None,
    segments: int = 0,
    frame: Literal["map", "box"] = "map",
    json: Flag = False,
    overwrite: Flag = False,
) -> None:
    """Place an atomic model in a density map, wherever it is now.

    Every rotation and translation is tried; the best are refined and ranked by their correlation with the map. Prints
    the correlation before and after, what was applied, the runners-up (symmetry mates among them), and whether the
    mirrored map fits better.

    Args:
        model: Atomic model, PDB or mmCIF.
        map_: Density map, MRC or CCP4, plain or gzipped; its ORIGIN (else nstart) counts.
        output: mmCIF to write, .cif, with all atoms of the model.
        resolution: Å at which model and map are compared; default: as the map shows.
        local: Only improve the placement that the model has.
        hand: Whether the mirrored map is looked at too; default: both, or as-given with --local.
        segments: Cut the chain into this many rigid segments and move each into the map.
        frame: Origin of the written model: the map's own (it then overlays the map in ChimeraX), or the centre of the
            map's box, which is what `cryosphere train` wants.
        json: Print what was found as JSON.
        overwrite: Replace the output where it already exists.
    """
    from cryosphere.cli.progress import terminal_progress
    from cryosphere.maps.fit import fit as run_fit
    from cryosphere.maps.fitting.results import FitSettings
    from cryosphere.maps.fitting.wording import describe

    settings = FitSettings("where it stands" if local else "anywhere", resolution, hand, segments, frame)
    found = run_fit(model, map_, output, settings, progress=terminal_progress(), overwrite=overwrite)
    if json:
        from json import dumps

        print(dumps(found.as_dict(), indent=2))
    else:
        print(describe(found))
