"""The pictures of docs/before-the-run.md, as the commands make them of a simulated protein with a hinge.

    python benchmarks/before_pictures.py

A minute on two cores. The model is turned and moved away before `prepare` looks for its place; the poses of the set
that the doctor is shown belong to the mirror image.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from page import DOCS
from scipy.spatial.transform import Rotation

from cryosphere.simulation.config import DistributedCtf, ImageSettings, SimulationConfig
from cryosphere.simulation.faults import plant
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.model import model_from_structure, read_model
from cryosphere.structures.write import write_model

SECTIONS = "The model in the map"
AWAY = (30.0, -20.0, 45.0)  # Å
TURN = (50.0, 80.0, 120.0)  # degrees, Euler angles


def main() -> None:
    """Simulate, run the commands, keep their pictures."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        protein = two_domain_protein(0)
        write_model(place / "protein.cif", protein.model)
        config = SimulationConfig(
            model=place / "protein.cif",
            motion=protein.opening(40.0, 200),
            images=ImageSettings(count=5000, box=64, pixel_size=2.5, snr=0.1, shift=5.0),
            ctf=DistributedCtf(kind="distribution"),
            seed=0,
        )
        done = simulate(config, place / "data")
        model = read_model(done.model)
        turned = model.positions @ Rotation.from_euler("ZYZ", TURN, degrees=True).as_matrix().T + AWAY
        write_model(place / "away.cif", model_from_structure(model.with_positions(turned), "away"))
        wrong, same_model = plant("mirrored hand", done.particles, done.model, place / "wrong", seed=0)
        cryosphere("prepare", "--particles", done.particles, "--model", place / "away.cif", "--outdir", place / "ready")
        cryosphere("backproject", "--particles", done.particles, "--outdir", place / "consensus")
        cryosphere("doctor", "--particles", wrong, "--model", same_model, "--outdir", place / "checked", code=3)
        shutil.copyfile(place / "consensus" / "fsc.png", DOCS / "_static" / "before-fsc.png")
        shutil.copyfile(place / "checked" / "readings.png", DOCS / "_static" / "before-doctor.png")
        page = (place / "ready" / "prepare.html").read_text(encoding="utf-8")
        (DOCS / "_static" / "before-prepare.png").write_bytes(picture_of(page, SECTIONS))


def picture_of(page: str, title: str) -> bytes:
    """A picture that a page holds, by its title."""
    found = re.search(f"alt='[^']*{title}[^']*' src='data:image/png;base64,([^']*)'", page)
    if found is None:
        raise SystemExit(f"the page has no picture with {title!r} in its title")
    return base64.b64decode(found[1])


def cryosphere(*words: object, code: int = 0) -> None:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "cryosphere", *map(str, words)]
    if subprocess.run(command, check=False).returncode != code:  # noqa: S603 (our own command)
        raise SystemExit(f"not as expected: {' '.join(command)}")


if __name__ == "__main__":
    main()
