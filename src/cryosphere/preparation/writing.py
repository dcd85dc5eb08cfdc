"""The folder of a preparation: model, settings, map, curves, page."""

from __future__ import annotations

import logging
from pathlib import Path

from cryosphere import __version__
from cryosphere.files import write_text
from cryosphere.maps.files import write_map
from cryosphere.preparation.config_text import Source, config_text
from cryosphere.preparation.folder import appearing
from cryosphere.preparation.page import page_text
from cryosphere.preparation.result import Preparation
from cryosphere.preparation.wording import placed_sentence
from cryosphere.structures.write import write_model
from cryosphere.training.configure import configure

log = logging.getLogger(__name__)

MODEL, CONFIG, MAP, CURVES, PAGE = "model.cif", "config.yaml", "map.mrc", "fsc.csv", "prepare.html"
HALVES = ("half1.mrc", "half2.mrc")
FILES = (MODEL, CONFIG, MAP, *HALVES, CURVES, PAGE)
"""Everything that a preparation writes."""


def write(found: Preparation, outdir: Path, source: Source, model: Path) -> None:
    """Write the folder, whole or not at all, after making sure that training takes the settings.

    model: the file that the model came from, for what is said of it.
    """
    placed, density_map = found.placement.chosen.model, found.consensus.density_map
    halves = found.consensus.reconstruction
    commands = _next_commands(outdir, source)
    with appearing(outdir) as folder:
        write_model(folder / MODEL, placed)
        write_map(folder / MAP, density_map.values, density_map.pixel_size, density_map.origin)
        if halves is not None:
            for name, values in zip(HALVES, (halves.half1, halves.half2), strict=True):
                write_map(folder / name, values, density_map.pixel_size, density_map.origin)
        write_text(folder / CURVES, curves_table(found))
        title = f"{source.files[0].name} and {model.name}"
        write_text(folder / PAGE, page_text(found, title, _contents(found), commands))
        told = f"All atoms of {model.name}, origin at the centre of the images' box. {placed_sentence(found.placement)}"
        heading = [
            f"Settings of a run, chosen by cryosphere {__version__}; {PAGE} shows why. To start it:",
            f"  cryosphere train {outdir.absolute() / CONFIG} --outdir RUN",
            "Paths are relative to this file. Every setting not named here has its default; lines behind # show those "
            "that are changed most, with their defaults.",
            *(f"LOOK AT THIS FIRST: {warning}" for warning in found.warnings),
        ]
        write_text(folder / CONFIG, config_text(source, MODEL, told, found.choices, heading))
        configure(folder / CONFIG)
    log.info("%s: model, map, settings, and why: %s", outdir, outdir / PAGE)


def curves_table(found: Preparation) -> str:
    """The content of fsc.csv: a row for each shell from 1 on; a field is empty where there is no such curve."""
    after, before, halves = found.curve, found.curve_before, found.consensus.reconstruction
    columns = [
        ("fsc_model_map", after.curve),
        ("fsc_model_map_before", None if before is None else before.curve),
        ("fsc_half_maps", None if halves is None else halves.curves.unmasked),
        ("fsc_half_maps_corrected", None if halves is None else halves.curves.corrected),
    ]
    lines = [",".join(["shell", "frequency_per_angstrom", "resolution_angstrom", *(name for name, _ in columns)])]
    for shell in range(1, len(after.frequencies)):
        frequency = after.frequencies[shell]
        values = ["" if curve is None else f"{curve[shell]:.6f}" for _, curve in columns]
        lines.append(",".join([str(shell), f"{frequency:.8f}", f"{1 / frequency:.4f}", *values]))
    return "\n".join(lines) + "\n"


def _contents(found: Preparation) -> dict[str, str]:
    """What lies in the folder."""
    contents = {
        CONFIG: "settings, with the reason at each that was chosen",
        MODEL: "the placed model, all atoms, origin at the centre of the images' box",
        MAP: "the map it was placed in; it lies over the model",
        CURVES: "correlations, shell by shell: model and map, and the half-maps where the map was made here",
    }
    if found.consensus.reconstruction is not None:
        contents[", ".join(HALVES)] = "maps of two halves of the images"
    return contents


def _next_commands(outdir: Path, source: Source) -> str:
    """What the user types now."""
    files = " ".join(map(str, source.files))
    datadir = "" if source.datadir is None else f" --datadir {source.datadir}"
    return (
        f"cryosphere doctor --particles {files}{datadir} --model {outdir / MODEL}\n"
        f"cryosphere train {outdir / CONFIG} --outdir RUN"
    )
