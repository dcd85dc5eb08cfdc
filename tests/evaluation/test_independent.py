"""evaluation.json against a computation of its own: NumPy, the run's exported structures and truth.npz, nothing else.

Whatever `cryosphere.evaluation` does fast and in pieces is done here again slowly and plainly. Exported structures and
true conformations are single precision: at 50 Å they are rounded by 2·10⁻⁶ Å, so figures agree to 10⁻⁵ Å or better.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere import Run
from cryosphere.analysis.structures import export_structures
from cryosphere.evaluation.evaluate import evaluate
from cryosphere.training.trained import TrainedModel

FSC_BOX = 24  # voxels
SAMPLE = 6  # structures that are looked at in plain loops
CLOSE = 1e-4  # Å and degrees; relative for correlations


@pytest.fixture(scope="module")
def found(run, data, tmp_path_factory):
    """What was written by `evaluate`, and what it should have been made of."""
    evaluate(
        run,
        data.truth_path,
        oracle_images=10,
        structure_images=SAMPLE,
        fsc_images=SAMPLE,
        fsc_box=FSC_BOX,
        device="cpu",
    )
    path = tmp_path_factory.mktemp("structures") / "structures.npz"
    export_structures(Run(run), path)
    truth = np.load(data.truth_path)
    model = TrainedModel.load(run, device="cpu")
    return SimpleNamespace(
        said=json.loads((run / "evaluation.json").read_text()),
        values=dict(np.load(run / "evaluation" / "figures.npz", allow_pickle=False)),
        truth=truth,
        predicted=np.load(path)["coordinates"].astype(np.float64),
        true=truth["conformations"][truth["conformation_index"]].astype(np.float64),
        base=truth["base_positions"],
        moving=truth["domain"] == 1,
        still=truth["domain"] == 0,
        segment=model.membership().argmax(axis=1),
    )


def rotation_onto(moving, target):
    """Rotation that superposes centred points (R, 3) on others best (Kabsch 1976)."""
    a, b = moving - moving.mean(axis=0), target - target.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return (u @ flip @ vt).T


def rmsd(a, b):
    return np.sqrt(((a - b) ** 2).sum(axis=1).mean())


def superposed_rmsd(a, b):
    return rmsd((a - a.mean(axis=0)) @ rotation_onto(a, b).T, b - b.mean(axis=0))


def turn_about(axis, matrix):
    """Angle in radians by which a rotation turns about an axis: that of an arm across it, after the rotation has
    been undone as far as it tips the axis over the shortest way (Rodrigues' formula from the axis to where it went)."""
    went = matrix @ axis
    cross, cosine = np.cross(went, axis), went @ axis
    hat = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    upright = (np.eye(3) + hat + hat @ hat / (1 + cosine)) @ matrix
    arm = np.cross(axis, [1.0, 0.0, 0.0] if abs(axis[0]) < 0.9 else [0.0, 1.0, 0.0])
    turned = upright @ arm
    return np.arctan2(np.cross(arm, turned) @ axis, arm @ turned)


def relative_turns(structures, found):
    """Of the moving domain against the still one, since the base structure, (n, 3, 3)."""
    turns = []
    for structure in structures:
        moving, still = (rotation_onto(found.base[m], structure[m]) for m in (found.moving, found.still))
        turns.append(still.T @ moving)
    return np.array(turns)


def angles(found):
    """Predicted and true, degrees, about the axis of the largest true turn, signed as the simulation's angle."""
    true, predicted = relative_turns(found.true, found), relative_turns(found.predicted, found)
    largest = true[np.trace(true, axis1=1, axis2=2).argmin()]
    axis = np.array([largest[2, 1] - largest[1, 2], largest[0, 2] - largest[2, 0], largest[1, 0] - largest[0, 1]])
    axis /= np.linalg.norm(axis)  # the simulation turns by positive angles here, and this axis by its own too
    return tuple(np.degrees([turn_about(axis, turn) for turn in turns]) for turns in (predicted, true))


def test_distance_between_the_domains(found):
    predicted, true = (
        np.linalg.norm(x[:, found.moving].mean(axis=1) - x[:, found.still].mean(axis=1), axis=1)
        for x in (found.predicted, found.true)
    )
    said = found.said["agreements"][0]
    assert said["name"] == "domain 1-rest distance"
    assert said["correlation"] == pytest.approx(np.corrcoef(predicted, true)[0, 1], rel=CLOSE)
    assert said["mean_error"] == pytest.approx(np.mean(np.abs(predicted - true)), abs=CLOSE)
    assert said["true_range"] == pytest.approx([np.percentile(true, 1), np.percentile(true, 99)], abs=CLOSE)
    assert found.values["predicted"][0] == pytest.approx(predicted, abs=CLOSE)
    assert found.values["true"][0] == pytest.approx(true, abs=CLOSE)


def test_angle_of_the_domain_which_is_the_one_simulated(found):
    predicted, true = angles(found)
    simulated = np.degrees(found.truth["parameters"][found.truth["conformation_index"], 0])
    said = found.said["agreements"][1]
    assert true == pytest.approx(simulated, abs=1e-2)  # rounding of the positions over the size of the domain, 20 Å
    assert found.values["true"][1] == pytest.approx(true, abs=1e-3)
    assert found.values["predicted"][1] == pytest.approx(predicted, abs=1e-3)
    assert said["correlation"] == pytest.approx(np.corrcoef(predicted, true)[0, 1], rel=CLOSE)
    assert said["mean_error"] == pytest.approx(np.mean(np.abs(predicted - true)), abs=1e-3)


def main_axis(turns):
    """The axis that the turns (n, 3, 3) have most in common: of their rotation vectors' scatter."""
    vectors = Rotation.from_matrix(turns).as_rotvec()
    return np.linalg.eigh(vectors.T @ vectors)[1][:, -1]


def test_axis_of_the_turn_which_is_the_one_simulated(found):
    rows, said = found.values["structure_rows"], found.said["agreements"][1]
    predicted, true = (main_axis(relative_turns(x[rows], found)) for x in (found.predicted, found.true))
    assert abs(true @ [0, 0, 1]) > 1 - 1e-6  # the simulation's axis
    assert abs(true @ said["true_axis"]) > 1 - 1e-6
    assert abs(predicted @ said["axis"]) > 1 - 1e-6
    off = np.degrees(np.arccos(abs(predicted @ true)))
    assert said["axis_error"] == pytest.approx(off, abs=0.05)
    assert "axis" not in found.said["agreements"][0] or found.said["agreements"][0]["axis"] is None


def transform(positions, weights, sigma, length):
    """Fourier transform of Gaussian beads, by its formula, on the lattice of a box of that length."""
    along = np.arange(FSC_BOX) - FSC_BOX // 2
    lattice = np.stack(np.meshgrid(along, along, along, indexing="ij"), axis=-1).reshape(-1, 3) / length
    damping = np.exp(-2 * np.pi**2 * sigma**2 * (lattice**2).sum(axis=1))
    return damping * (np.exp(-2j * np.pi * lattice @ positions.T) @ weights), np.linalg.norm(lattice * length, axis=1)


def correlation_in(shell, one, other):
    cross = (one[shell] * other[shell].conj()).real.sum()
    return cross / np.sqrt((np.abs(one[shell]) ** 2).sum() * (np.abs(other[shell]) ** 2).sum())


def test_fourier_shell_correlation_and_its_area_by_the_formula_of_the_transform(found):
    """Shells by the nearest whole radius; CryoBench's: from i - 1 up to i, trapezoids against i / box."""
    rows = np.linspace(0, 99, SAMPLE).round().astype(int)
    truth = found.truth
    length = float(truth["box"] * truth["pixel_size"])
    curves, areas = [], []
    for row in rows:
        predicted, radius = transform(found.predicted[row], truth["amplitudes"], float(truth["bead_sigma"]), length)
        true, _ = transform(found.true[row], truth["amplitudes"], float(truth["bead_sigma"]), length)
        shells = [np.floor(radius + 0.5) == i for i in range(FSC_BOX // 2)]
        curves.append([correlation_in(shell, predicted, true) for shell in shells])
        bench = [(radius >= i - 1) & (radius < i) for i in range(1, FSC_BOX // 2)]
        values = [1.0, *(abs(correlation_in(shell, predicted, true)) for shell in bench)]
        areas.append(sum((a + b) / 2 for a, b in pairwise(values)) / FSC_BOX)
    said = found.said["fsc"]
    assert said["frequencies"] == pytest.approx(np.arange(FSC_BOX // 2) / length)
    assert said["beads"]["mean_curve"] == pytest.approx(np.mean(curves, axis=0), abs=2e-3)
    assert said["beads"]["sd_curve"] == pytest.approx(np.std(curves, axis=0), abs=2e-3)
    assert said["beads"]["area"] == pytest.approx(np.mean(areas), abs=2e-4)
    assert said["beads"]["area_sd"] == pytest.approx(np.std(areas), abs=2e-4)


def test_what_is_said_of_the_oracle_comes_from_its_values(found):
    rows = found.values["oracle_rows"]
    assert len(rows) == 10
    for k, said in enumerate(found.said["agreements"]):
        true, oracle, ours = (found.values[name][k] for name in ("true", "oracle", "predicted"))
        possible = np.corrcoef(oracle, true[rows])[0, 1]
        achieved = np.corrcoef(ours[rows], true[rows])[0, 1]
        assert said["oracle_correlation"] == pytest.approx(possible)
        assert said["oracle_mean_error"] == pytest.approx(np.abs(oracle - true[rows]).mean())
        assert said["correlation_ratio"] == pytest.approx(achieved / possible)


def test_deviations_before_and_after_superposition_and_of_the_base_structure(found):
    expected = {
        "deviation": [rmsd(p, t) for p, t in zip(found.predicted, found.true, strict=True)],
        "aligned_deviation": [superposed_rmsd(p, t) for p, t in zip(found.predicted, found.true, strict=True)],
        "base_deviation": [rmsd(found.base, t) for t in found.true],
        "base_aligned_deviation": [superposed_rmsd(found.base, t) for t in found.true],
    }
    medians = ("as_they_lie", "superposed", "base_as_they_lie", "base_superposed")
    for (name, values), median in zip(expected.items(), medians, strict=True):
        assert found.values[name] == pytest.approx(np.array(values), abs=CLOSE), name
        assert found.said[name] == pytest.approx(np.mean(values), abs=CLOSE), name
        assert found.said["median_deviations"][median] == pytest.approx(np.median(values), abs=CLOSE), median


def naive_lddt(model, true):
    kept = pairs = 0
    for i in range(len(true)):
        for j in range(i + 1, len(true)):
            distance = np.linalg.norm(true[i] - true[j])
            if distance < 15.0:
                error = abs(np.linalg.norm(model[i] - model[j]) - distance)
                pairs += 1
                kept += sum(error <= limit for limit in (0.5, 1.0, 2.0, 4.0)) / 4
    return kept / pairs


def test_local_distance_difference_test(found):
    rows = found.values["structure_rows"]
    assert len(rows) == SAMPLE
    predicted = [naive_lddt(found.predicted[row], found.true[row]) for row in rows]
    base = [naive_lddt(found.base, found.true[row]) for row in rows]
    one_pair = 1e-3  # a distance on the edge of a tolerance may fall to either side by rounding; there are 1000
    assert found.values["lddt"] == pytest.approx(np.array(predicted), abs=one_pair)
    assert found.values["base_lddt"] == pytest.approx(np.array(base), abs=one_pair)
    said = found.said["lddt"]
    assert (said["images"], said["mean"]) == (SAMPLE, pytest.approx(np.mean(predicted), abs=one_pair))
    assert said["base_median"] == pytest.approx(np.median(base), abs=one_pair)


def naive_clashes(structure):
    count = len(structure)
    return sum(np.linalg.norm(structure[i] - structure[j]) < 4.0 for i in range(count) for j in range(i + 2, count))


def test_clashes_and_broken_links(found):
    """The protein is one chain without gaps: residues are contiguous where their indices are."""
    rows, said = found.values["structure_rows"], found.said["stereochemistry"]
    links = np.linalg.norm(np.diff(found.base, axis=0), axis=1)
    for name, structures in (("", found.predicted), ("true_", found.true)):
        clashes = np.array([naive_clashes(structures[row]) for row in rows])
        lengths = np.linalg.norm(np.diff(structures[rows], axis=1), axis=2)
        broken = (np.abs(lengths - links) > 1.0).sum(axis=1)
        assert found.values[f"{name}clashes"].tolist() == clashes.tolist()
        assert found.values[f"{name}broken_links"].tolist() == broken.tolist()
        assert said[f"{name}clashes"] == pytest.approx(clashes.mean())
        assert said[f"{name}broken_links"] == pytest.approx(broken.mean())
    assert said["base_clashes"] == naive_clashes(found.base)
    assert said["links"] == 99


def adjusted_rand(first, second):
    """By the contingency table (Hubert & Arabie 1985)."""
    together = sum(comb(n, 2) for n in Counter(zip(first, second, strict=True)).values())
    a, b = (sum(comb(n, 2) for n in Counter(labels).values()) for labels in (first, second))
    chance = a * b / comb(len(first), 2)
    return 1.0 if (a + b) / 2 == chance else (together - chance) / ((a + b) / 2 - chance)


def test_segments_against_the_domains(found):
    said, domain = found.said["partition"], found.truth["domain"].tolist()
    segments = found.segment.tolist()
    body = {segment - 1: k for k, members in enumerate(said["bodies"]) for segment in members}
    assert said["adjusted_rand"] == pytest.approx(adjusted_rand(domain, segments), abs=1e-9)
    assert said["adjusted_rand_bodies"] == pytest.approx(adjusted_rand(domain, [body[s] for s in segments]), abs=1e-9)
    cuts = [i for i in range(99) if segments[i] != segments[i + 1]]
    [boundary] = said["boundaries"]  # residues 1 to 60 and 61 to 100
    assert (boundary["chain"], boundary["after"]) == ("A", 60)
    assert boundary["nearest_segment"] == min((abs(cut - 59) for cut in cuts), default=None)


def test_how_far_each_domain_is_from_a_rigid_body(found):
    rows = found.values["structure_rows"]
    for said, mask in zip(found.said["partition"]["domains"], (found.moving, found.still), strict=True):
        for name, structures in (("misfit", found.predicted), ("true_misfit", found.true)):
            expected = np.mean([superposed_rmsd(found.base[mask], structures[row][mask]) for row in rows])
            assert said[name] == pytest.approx(expected, abs=CLOSE)


def test_latent_space(found):
    said, mean, sd = found.said["latent"], found.values["latent_mean"].astype(float), found.values["latent_sd"]
    divergence = (0.5 * (mean**2 + sd.astype(float) ** 2 - 1 - np.log(sd.astype(float) ** 2))).mean(axis=0)
    assert said["divergence"] == pytest.approx(divergence, rel=1e-6)
    assert said["active_dimensions"] == (divergence > 0.01).sum()
    eigenvalues = np.linalg.eigvalsh(np.cov(mean.T))
    assert said["effective_dimension"] == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


def test_neighbours_in_latent_space(found):
    said, mean = found.said["latent"], found.values["latent_mean"].astype(float)
    count, k = len(mean), said["neighbours"]
    assert (said["images"], k) == (100, 2)  # all images; 2 % of them
    kept = 0
    for i in range(count):
        others = np.array([j for j in range(count) if j != i])
        true = np.array([rmsd(found.true[i], found.true[j]) for j in others])
        latent = np.linalg.norm(mean[others] - mean[i], axis=1)
        near = set(others[true <= np.sort(true)[k - 1] + 1e-3])  # all that are as near as the k-th
        kept += len(near & set(others[np.argsort(latent)[:k]]))
    assert said["neighbours_kept"] == pytest.approx(kept / (count * k))
