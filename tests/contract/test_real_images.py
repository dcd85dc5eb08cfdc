"""Real images of other people with real models, through the commands as a user types them.

The models are not those of the images: nothing can be learned here. Everything must run, on 17 images and on 5, and
what is written must keep the model's atoms.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest

from cryosphere.cli.main import run

IMAGES = {"relion30": "relion/aspire/sample_particles_relion30.star", "relion31": "relion/cryodrgn/relion31.star"}
COUNTS = {"relion30": 17, "relion31": 5}
MODELS = {
    "adk": "trajectories/adk/adk_open.pdb",  # with hydrogens
    "adk_waters": "models/prody-web/4ake.pdb",  # two chains and waters
    "phytochrome": "models/cryosphere_base_structure_flex_centered.pdb",  # two chains, 16,000 atoms with hydrogens
}


@dataclass(frozen=True)
class Finished:
    """A run after training, analysis and export of structures."""

    folder: Path
    model: Path
    count: int


@pytest.fixture(
    scope="module",
    params=[("relion30", "adk_waters"), ("relion30", "phytochrome"), ("relion31", "adk"), ("relion31", "phytochrome")],
    ids="-".join,
)
def finished(request, shared_data, tmp_path_factory) -> Finished:
    images, model = request.param
    folder = tmp_path_factory.mktemp(f"{images}-{model}")
    inputs = ["--particles", shared_data / IMAGES[images], "--datadir", shared_data / "relion"]
    inputs += ["--model", shared_data / MODELS[model]]
    small = ["--epochs", 2, "--box", 40, "--segments", 3]
    for arguments in (
        ["train", *inputs, "--outdir", folder / "run", *small],
        ["analyze", folder / "run"],
        ["structures", folder / "run", "--output", folder / "structures", "--indices", "0:3"],
        ["structures", folder / "run", "--output", folder / "all.npz"],
    ):
        assert run(["-q", *map(str, arguments)]) == 0
    logging.getLogger("cryosphere").setLevel("NOTSET")  # -q has made it silent for all tests
    return Finished(folder, shared_data / MODELS[model], COUNTS[images])


def atoms(model: gemmi.Model) -> list[tuple[object, ...]]:
    """What identifies every atom, in order."""
    return [
        (site.chain.name, str(site.residue.seqid), site.residue.name, site.atom.name, site.atom.altloc)
        for site in model.all()
    ]


def test_every_image_gets_a_latent_a_motion_and_a_structure(finished):
    latents = np.load(finished.folder / "run/analysis/z.npy")
    assert latents.shape == (finished.count, 8)
    assert np.isfinite(latents).all()
    motions = pd.read_csv(finished.folder / "run/analysis/motions.csv")
    assert sorted(set(motions["image"])) == list(range(finished.count))
    coordinates = np.load(finished.folder / "all.npz")["coordinates"]
    assert len(coordinates) == finished.count
    assert np.isfinite(coordinates).all()


def test_structures_keep_every_atom_chain_and_residue_number(finished):
    given = gemmi.read_structure(str(finished.model), merge_chain_parts=False)
    expected = atoms(given[0])
    written = sorted((finished.folder / "structures").iterdir())
    assert len(written) == 3
    for path in written:
        assert atoms(gemmi.read_structure(str(path), merge_chain_parts=False)[0]) == expected
    traversal = gemmi.read_structure(str(finished.folder / "run/analysis/traversals/pc1.cif"), merge_chain_parts=False)
    assert len(traversal) == 10
    assert all(atoms(model) == expected for model in traversal)


def test_the_report_shows_all_pictures_and_stands_alone(finished):
    report = (finished.folder / "run/analysis/report.html").read_text()
    assert report.count("data:image/png;base64,") >= 6
    assert 'src="http' not in report
    assert "nan" not in report.lower().replace("nanometre", "").split("<style")[0]


def test_the_inputs_as_used_are_kept_in_the_run(finished):
    kept = gemmi.read_structure(str(finished.folder / "run/model.cif"), merge_chain_parts=False)
    assert atoms(kept[0]) == atoms(gemmi.read_structure(str(finished.model), merge_chain_parts=False)[0])
    assert (finished.folder / "run/particles.star").read_text().count("@") == finished.count
    assert len(pd.read_csv(finished.folder / "run/metrics.csv")) == 2
