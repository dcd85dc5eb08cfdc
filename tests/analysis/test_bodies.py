"""Segments that move as one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.analysis.bodies import Body, reference_body
from cryosphere.analysis.motions import RigidMotions, body_motion, in_frame_of, relative_to
from cryosphere.analysis.segments import Segmentation
from cryosphere.geometry.rigid_bodies import rigid_bodies

GENERATOR = np.random.default_rng(4)
ASSIGNMENT = np.repeat([0, 2, 3, 5], [30, 20, 25, 10])
START = GENERATOR.normal(size=(85, 3)) * 12


def moved(angles):
    """START with each segment turned about one common axis by its own angle in degrees, then all of it carried away."""
    turns = Rotation.from_rotvec(np.radians(np.repeat(angles, [30, 20, 25, 10]))[:, None] * [0.0, 1.0, 0.0])
    carried = Rotation.from_euler("xyz", [40, 50, 60], degrees=True).apply(turns.apply(START))
    return carried + np.array([5.0, -7.0, 20.0])


def test_segments_with_one_common_motion_are_one_body():
    assert rigid_bodies(START, moved([0, 30, 0, 30]), ASSIGNMENT, 0.5) == [(0, 3), (2, 5)]


def test_motion_of_the_whole_molecule_makes_one_body():
    assert rigid_bodies(START, moved([25, 25, 25, 25]), ASSIGNMENT, 1e-3) == [(0, 2, 3, 5)]


def test_every_segment_with_a_motion_of_its_own_stays_alone():
    assert sorted(rigid_bodies(START, moved([0, 30, 60, 90]), ASSIGNMENT, 0.5)) == [(0,), (2,), (3,), (5,)]


def test_a_mirror_image_is_no_rigid_motion():
    assert len(rigid_bodies(START, START * [-1.0, 1.0, 1.0], ASSIGNMENT, 0.5)) == 4


@pytest.mark.parametrize("residues", [1, 2])
def test_segments_of_one_or_two_residues_do_no_harm(residues):
    assignment = np.arange(3).repeat(residues)
    points = GENERATOR.normal(size=(3 * residues, 3)) * 10
    assert rigid_bodies(points, points + 1.0, assignment, 0.1) == [(0, 1, 2)]


def segmentation():
    """The 85 residues of START in four segments of 0, 1, 2 and 3."""
    return Segmentation(SimpleNamespace(positions=START), np.eye(4)[np.repeat([0, 1, 2, 3], [30, 20, 25, 10])])


def motions_of(images, seed):
    generator = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(0.3 * generator.normal(size=(images * 4, 3))).as_quat().reshape(images, 4, 4)
    return RigidMotions(turns, generator.normal(size=(images, 4, 3)) * 6, segmentation().centres)


def structures(motions):
    """Every residue moved with its segment, straight from the definition."""
    segment = np.repeat([0, 1, 2, 3], [30, 20, 25, 10])
    turned = motions.rotated(np.zeros((1, 1, 3)))  # (n, 4, 3), for its shape alone
    out = np.empty((len(turned), len(START), 3))
    for number in range(4):
        matrices = Rotation.from_quat(motions.quaternions[:, number]).as_matrix()
        arms = START[segment == number] - motions.centres[number]
        places = motions.centres[number] + motions.translations[:, number]
        out[:, segment == number] = np.einsum("nij,rj->nri", matrices, arms) + places[:, None]
    return out


def test_the_motion_of_a_body_is_the_best_superposition_of_all_its_residues():
    motions, found = motions_of(6, 1), segmentation()
    quaternions, origin, displacement = body_motion(motions, Body.of(found, (0, 2)))
    rows = np.isin(found.assignment, (0, 2))
    assert origin == pytest.approx(START[rows].mean(axis=0))
    for image, places in enumerate(structures(motions)[:, rows]):
        expected, _ = Rotation.align_vectors(places - places.mean(axis=0), START[rows] - START[rows].mean(axis=0))
        assert (expected.inv() * Rotation.from_quat(quaternions[image])).magnitude() == pytest.approx(0.0, abs=1e-6)
        assert displacement[image] == pytest.approx(places.mean(axis=0) - START[rows].mean(axis=0))


def test_structures_and_motions_are_seen_from_the_same_body():
    motions, body = motions_of(5, 2), Body.of(segmentation(), (1, 3))
    seen = in_frame_of(structures(motions), motions, body)
    assert seen == pytest.approx(structures(relative_to(motions, body)), abs=1e-4)  # float32 of tens of Å


def test_the_reference_is_the_largest_body_even_where_a_single_segment_elsewhere_is_larger():
    found = segmentation()
    bodies = rigid_bodies(START, moved([30, 0, 0, 0]), found.assignment, 0.5)
    assert reference_body(found, bodies).segments == (1, 2, 3)  # 55 residues, though segment 0 alone has 30
    assert reference_body(found, bodies).words(found) == "the largest body (S2 + S3 + S4)"


def test_segments_that_part_along_a_second_path_are_two_bodies():
    start, end = np.stack([START, START]), np.stack([moved([0, 0, 0, 0]), moved([0, 30, 30, 30])])
    assert rigid_bodies(start, end, ASSIGNMENT, 0.5) == [(2, 3, 5), (0,)]
