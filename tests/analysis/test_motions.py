"""Rigid motions told as angle, axis and displacement."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from cryosphere.analysis.bodies import Body
from cryosphere.analysis.motion_table import MotionTable, fixed_point_rows
from cryosphere.analysis.motions import about_centres, angles_axes, in_frame_of, relative_to

GENERATOR = np.random.default_rng(7)


def random_motions(count=5, segments=4):
    return SimpleNamespace(
        quaternions=Rotation.random(count * segments, random_state=1).as_quat().reshape(count, segments, 4),
        translations=GENERATOR.normal(size=(count, segments, 3)) * 5,
        pivots=GENERATOR.normal(size=(segments, 3)) * 20,
    )


def moved(motions, segment, points):
    """Points (p, 3) moved by one segment's motion in every image, straight from the definition."""
    matrices = Rotation.from_quat(motions.quaternions[:, segment]).as_matrix()
    pivot = motions.pivots[segment] if hasattr(motions, "pivots") else motions.centres[segment]
    return np.einsum("nij,pj->npi", matrices, points - pivot) + pivot + motions.translations[:, segment][:, None]


def test_a_turn_of_30_degrees_about_y_reads_as_30_degrees_about_y():
    quaternion = Rotation.from_euler("y", 30, degrees=True).as_quat()
    angle, axis = angles_axes(quaternion[None])
    assert angle == pytest.approx([30.0])
    assert axis == pytest.approx(np.array([[0.0, 1.0, 0.0]]))


def test_a_quaternion_and_its_negative_are_the_same_turn():
    quaternion = Rotation.from_euler("x", 100, degrees=True).as_quat()
    for sign in (1, -1):
        angle, axis = angles_axes(sign * quaternion[None])
        assert angle == pytest.approx([100.0])
        assert axis == pytest.approx(np.array([[1.0, 0.0, 0.0]]))


def test_no_turn_has_angle_zero_and_a_unit_axis():
    angle, axis = angles_axes(np.array([[0.0, 0.0, 0.0, 1.0]]))
    assert angle == [0.0]
    assert np.linalg.norm(axis) == 1.0


def test_another_pivot_gives_the_same_movement_of_every_point():
    motions = random_motions()
    points = GENERATOR.normal(size=(6, 3)) * 30
    rewritten = about_centres(motions, GENERATOR.normal(size=(4, 3)) * 25)
    for segment in range(4):
        assert moved(rewritten, segment, points) == pytest.approx(moved(motions, segment, points), abs=1e-9)


def test_translations_about_centres_are_displacements_of_the_centres():
    motions = random_motions()
    centres = GENERATOR.normal(size=(4, 3)) * 25
    rewritten = about_centres(motions, centres)
    for segment in range(4):
        displaced = moved(motions, segment, centres[segment][None])[:, 0] - centres[segment]
        assert rewritten.translations[:, segment] == pytest.approx(displaced, abs=1e-9)


def test_relative_motions_do_not_change_when_the_whole_molecule_is_moved():
    motions = random_motions()
    centres = GENERATOR.normal(size=(4, 3)) * 25
    before = relative_to(about_centres(motions, centres), Body.single(2))
    whole = Rotation.from_euler("xyz", [20, -70, 130], degrees=True)
    turned = SimpleNamespace(
        quaternions=(whole * Rotation.from_quat(motions.quaternions.reshape(-1, 4))).as_quat().reshape(5, 4, 4),
        translations=whole.apply((motions.translations + motions.pivots).reshape(-1, 3)).reshape(5, 4, 3)
        + np.array([3.0, -8.0, 11.0])
        - motions.pivots,
        pivots=motions.pivots,
    )
    after = relative_to(about_centres(turned, centres), Body.single(2))
    assert after.translations == pytest.approx(before.translations, abs=1e-9)
    assert after.angles == pytest.approx(before.angles, abs=1e-6)


def test_relative_motion_of_the_reference_itself_is_none():
    relative = relative_to(about_centres(random_motions(), np.zeros((4, 3))), Body.single(1))
    assert relative.angles[:, 1] == pytest.approx(0.0, abs=1e-6)
    assert relative.translations[:, 1] == pytest.approx(0.0, abs=1e-9)


def test_relative_motion_and_frame_of_the_reference_agree():
    motions = random_motions()
    centres = GENERATOR.normal(size=(4, 3)) * 25
    points = GENERATOR.normal(size=(6, 3)) * 30
    about = about_centres(motions, centres)
    seen = in_frame_of(moved(motions, 3, points), about, Body.single(0))
    assert seen == pytest.approx(moved(relative_to(about, Body.single(0)), 3, points), abs=1e-4)  # float32 of tens of Å


def test_motions_relative_to_held_residues_are_the_motions_themselves():
    about = about_centres(random_motions(), np.zeros((4, 3)))
    assert relative_to(about, Body.single(-1)) is about


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 1e6)), st.integers(0, 6))
def test_fixed_point_text_reads_back_as_python_would_round_it(values, decimals):
    lines = fixed_point_rows([values], [decimals]).decode().splitlines()
    assert np.array(lines, dtype=float) == pytest.approx(values, abs=0.5000001 * 10.0**-decimals)
    for line in lines:
        assert len(line.partition(".")[2]) == decimals
        assert line.lstrip("-")[0].isdigit()


def test_fixed_point_text_has_no_negative_zero():
    assert fixed_point_rows([np.array([-0.0001, 0.0, -1.0])], [2]) == b"0.00\n0.00\n-1.00\n"


def test_a_motion_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not a finite number"):
        fixed_point_rows([np.array([1.0, np.nan])], [2])


def test_the_table_reads_back_with_pandas(tmp_path):
    motions = about_centres(random_motions(), np.zeros((4, 3)))
    with MotionTable(tmp_path / "motions.csv") as table:
        table.append(motions, np.arange(100, 105))
    read = pd.read_csv(tmp_path / "motions.csv")
    assert read["image"].tolist() == np.repeat(np.arange(100, 105), 4).tolist()
    assert read["segment"].tolist() == [1, 2, 3, 4] * 5
    assert read["angle"].to_numpy() == pytest.approx(motions.angles.ravel(), abs=5.1e-4)
    assert read[["translation_x", "translation_y", "translation_z"]].to_numpy() == pytest.approx(
        motions.translations.reshape(-1, 3), abs=5.1e-4
    )
