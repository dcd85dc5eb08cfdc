"""The commands `simulate` and `project` from the shell: files where asked, messages where wrong."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from biotite.structure.io.dcd import DCDFile

ATOM = "ATOM  {n:5d}  CA  ALA A{n:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"
CONFIG = """
model: model.pdb
motion:
  kind: hinge
  domains: [{residues: [{chain: A, first: 11}], axis: [0, 0, 1]}]
  angles: {kind: uniform, low_degrees: 0, high_degrees: 40}
images: {count: 12, box: 24, pixel_size: 3.0}
"""


def cryosphere(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cryosphere", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    atoms = [ATOM.format(n=n, x=3.8 * (n - 10.5), y=n % 2, z=0) for n in range(1, 21)]
    (tmp_path / "model.pdb").write_text("".join(atoms) + "END\n")
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_what_simulate_writes_project_reads(config, tmp_path):
    done = cryosphere("simulate", config, "--outdir", tmp_path / "out", "--seed", 5)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "12/12" in done.stderr  # a plain line of progress, since this is no terminal
    assert "seed: 5" in (tmp_path / "out" / "simulation.yaml").read_text()
    star, model = tmp_path / "out" / "particles.star", tmp_path / "out" / "model.cif"
    quiet = cryosphere(
        "-q", "project", "--model", model, "--particles", star, "--output", tmp_path / "p.mrcs", "--no-ctf"
    )
    assert quiet.returncode == 0, quiet.stderr
    assert (tmp_path / "p.mrcs").stat().st_size == 1024 + 12 * 24 * 24 * 4


def test_project_finds_the_box_in_a_stack_of_another_folder(config, tmp_path):
    assert cryosphere("-q", "simulate", config, "--outdir", tmp_path / "out").returncode == 0
    star = tmp_path / "out" / "particles.star"
    star.write_text(star.read_text().replace("_rlnImageSize", "_rlnUnknownColumn"))
    (tmp_path / "away").mkdir()
    (tmp_path / "out" / "particles.mrcs").rename(tmp_path / "away" / "particles.mrcs")
    command = [
        "project",
        "--model",
        tmp_path / "out" / "model.cif",
        "--particles",
        star,
        "--output",
        tmp_path / "p.mrcs",
    ]
    refused = cryosphere("-q", *command)
    assert refused.returncode == 2
    assert "--datadir" in refused.stderr
    done = cryosphere(*command, "--datadir", tmp_path / "away")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "p.mrcs").stat().st_size == 1024 + 12 * 24 * 24 * 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("box: 24", "boks: 24"), "did you mean images.box"),
        (("chain: A", "chain: Q"), "no chain 'Q'"),
        (("model.pdb", "nothing.pdb"), "nothing.pdb"),
        (("first: 11}", "first: 11, last: 99}"), "only chain 'A' 1 to 20"),
        (("images:", "absent: [{residues: [{chain: Q}]}]\nimages:"), "no chain 'Q'"),
    ],
)
def test_a_wrong_configuration_ends_with_2_one_message_and_nothing_left(config, tmp_path, change, says):
    config.write_text(CONFIG.replace(*change))
    done = cryosphere("-q", "simulate", config, "--outdir", tmp_path / "out")
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("atoms", "moved", "says"),
    [
        (19, 0, "19 atoms"),
        (20, 60, "torn apart"),
    ],
)
def test_a_trajectory_that_does_not_fit_or_is_torn_ends_with_2_one_message_and_nothing_left(
    config, tmp_path, atoms, moved, says
):
    places = np.array([[3.8 * (n - 10.5), n % 2, 0] for n in range(1, atoms + 1)])
    frames = np.stack([places, places])
    frames[1, 12:] += moved
    file = DCDFile()
    file.set_coord(frames.astype(np.float32))
    file.write(tmp_path / "t.dcd")
    config.write_text(
        "motion: {kind: trajectory, trajectory: t.dcd, topology: model.pdb}\n"
        "images: {count: 12, box: 24, pixel_size: 3.0}\n"
    )
    done = cryosphere("-q", "simulate", config, "--outdir", tmp_path / "out")
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_the_images_and_says_how_to_go_on(config, tmp_path):
    config.write_text(CONFIG.replace("count: 12, box: 24", "count: 100000, box: 48"))
    command = [sys.executable, "-m", "cryosphere", "-q", "simulate", str(config), "--outdir", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.simulation.part/.particles.mrcs.part")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)  # some batches of images
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert re.fullmatch(
        r"cryosphere: interrupted: \d+ of 100000 images are kept; the same command goes on from there\n", said
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".simulation.part"]
    config.write_text(CONFIG)  # something else: starts over
    assert cryosphere("-q", "simulate", config, "--outdir", tmp_path / "out").returncode == 0
    assert not (tmp_path / "out" / ".simulation.part").exists()


def test_an_impossible_seed_is_refused(config, tmp_path):
    done = cryosphere("simulate", config, "--outdir", tmp_path / "out", "--seed=-1")
    assert done.returncode == 2
    assert "seed" in done.stderr


def test_project_without_a_usable_particle_file_ends_with_2_and_leaves_nothing(config, tmp_path):
    (tmp_path / "p.star").write_text("data_\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n")
    arguments = ["--model", tmp_path / "model.pdb", "--particles", tmp_path / "p.star", "--output", tmp_path / "o.mrcs"]
    done = cryosphere("-q", "project", *arguments)
    assert done.returncode == 2
    assert "rlnAngleRot" in done.stderr
    assert not (tmp_path / "o.mrcs").exists()
