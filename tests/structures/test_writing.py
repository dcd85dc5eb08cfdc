"""What is written is what was read: the same atoms, identifiers and order, and nothing half-written."""

from __future__ import annotations

import gzip
from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryosphere.errors import StructureError
from cryosphere.structures import AtomicModel, ModelWriter, read_model, write_model, write_models

from .models import REAL_MODELS, residue


def _identities(model: AtomicModel) -> list[tuple[object, ...]]:
    return [
        (
            *(chain.name, str(residue.seqid), residue.name, residue.label_seq, residue.subchain, residue.het_flag),
            *(residue.entity_type, atom.name, atom.altloc, atom.element.name, atom.charge),
            *(round(atom.occ, 3), round(atom.b_iso, 2)),
        )
        for chain in model.structure[0]
        for residue in chain
        for atom in residue
    ]


@pytest.fixture
def small(tmp_path) -> AtomicModel:
    path = tmp_path / "small.pdb"
    path.write_text("".join(residue(number, 3.8 * number) for number in (1, 2, 3)))
    return read_model(path)


@pytest.mark.parametrize("name", REAL_MODELS)
def test_a_real_model_written_and_read_again_is_the_same_in_every_atom_identifier_and_bead(shared_data, tmp_path, name):
    model = read_model(shared_data / name)
    write_model(tmp_path / "out.cif", model)
    again = read_model(tmp_path / "out.cif")
    assert _identities(again) == _identities(model)
    np.testing.assert_allclose(again.positions, model.positions, atol=5.001e-4)  # three decimals
    np.testing.assert_array_equal(again.atom_bead, model.atom_bead)
    for field in ("chain", "number", "insertion", "name", "kind", "bonded"):
        np.testing.assert_array_equal(getattr(again.beads, field), getattr(model.beads, field))
    np.testing.assert_allclose(again.beads.amplitudes, model.beads.amplitudes, rtol=1e-12)


@pytest.mark.parametrize("name", REAL_MODELS)
def test_the_table_of_atoms_has_one_row_per_atom_with_author_and_label_columns(shared_data, tmp_path, name):
    model = read_model(shared_data / name)
    write_model(tmp_path / "out.cif", model)
    table = gemmi.cif.read(str(tmp_path / "out.cif")).sole_block().find_mmcif_category("_atom_site.")
    tags = {tag.removeprefix("_atom_site.") for tag in table.tags}
    assert len(table) == len(model.positions)
    assert {"label_asym_id", "label_seq_id", "auth_asym_id", "auth_seq_id", "pdbx_PDB_ins_code"} <= tags
    assert [int(value) for value in table.column(list(table.tags).index("_atom_site.id"))] == list(
        range(1, len(model.positions) + 1)
    )


def test_moved_atoms_are_where_they_were_moved_to(small, tmp_path):
    moved = small.positions + np.random.default_rng(0).normal(scale=50.0, size=small.positions.shape)
    write_model(tmp_path / "moved.cif", small, moved)
    np.testing.assert_allclose(read_model(tmp_path / "moved.cif").positions, moved, atol=5.001e-4)
    np.testing.assert_array_equal([cra.atom.pos.tolist() for cra in small.with_positions(moved)[0].all()], moved)
    np.testing.assert_array_equal([cra.atom.pos.tolist() for cra in small.structure[0].all()], small.positions)


def test_a_trajectory_is_one_file_of_numbered_models_whose_atom_ids_never_repeat(small, tmp_path):
    steps = [small.positions + step for step in (0.0, 1.5, -7.25)]
    write_models(tmp_path / "traversal.cif", small, iter(steps))
    structure = gemmi.read_structure(str(tmp_path / "traversal.cif"))
    assert [model.num for model in structure] == [1, 2, 3]
    for model, step in zip(structure, steps, strict=True):
        np.testing.assert_allclose([cra.atom.pos.tolist() for cra in model.all()], step, atol=5.001e-4)
    table = gemmi.cif.read(str(tmp_path / "traversal.cif")).sole_block().find("_atom_site.", ["id"])
    assert [int(row[0]) for row in table] == list(range(1, 37))


def test_b_factors_given_per_bead_are_written_for_all_its_atoms(small, tmp_path):
    write_model(tmp_path / "uncertain.cif", small, b_factors=[1.0, 22.5, 333.25])
    atoms = [cra.atom.b_iso for cra in read_model(tmp_path / "uncertain.cif").structure[0].all()]
    assert atoms == pytest.approx(np.repeat([1.0, 22.5, 333.25], 4))


def test_one_writer_serves_many_files_and_packs_those_named_gz(small, tmp_path):
    writer = ModelWriter(small)
    for index in range(3):
        writer.write(tmp_path / f"{index}.cif", small.positions + index)
    writer.write(tmp_path / "packed.cif.gz")
    assert read_model(tmp_path / "2.cif").positions[0, 0] == pytest.approx(small.positions[0, 0] + 2)
    assert gzip.decompress((tmp_path / "packed.cif.gz").read_bytes())[:5] == b"data_"
    np.testing.assert_allclose(read_model(tmp_path / "packed.cif.gz").positions, small.positions)


def test_the_crystal_is_left_behind_and_anisotropy_with_it(shared_data, tmp_path):
    model = read_model(shared_data / "models/biopython/1A8O.pdb")
    write_model(tmp_path / "out.cif", model)
    text = (tmp_path / "out.cif").read_text()
    assert "_cell." not in text
    assert "_atom_site_anisotrop" not in text
    assert "_entity_poly_seq" in text  # what lets viewers draw the chain


def _break_after_one(positions: np.ndarray):
    yield positions
    raise RuntimeError("the decoder failed")


@pytest.mark.parametrize(
    ("conformations", "error"),
    [
        (_break_after_one, RuntimeError),
        (lambda positions: [positions, positions[:-1]], StructureError),
        (lambda positions: [positions, positions * np.nan], StructureError),
        (lambda positions: [], StructureError),
    ],
)
def test_what_fails_on_the_way_leaves_the_old_file_and_nothing_else(small, tmp_path, conformations, error):
    target = tmp_path / "out" / "traversal.cif"
    target.parent.mkdir()
    target.write_text("the old one")
    with pytest.raises(error):
        write_models(target, small, conformations(small.positions))
    assert [path.name for path in target.parent.iterdir()] == ["traversal.cif"]
    assert target.read_text() == "the old one"


def test_names_of_pdb_files_missing_folders_and_wrong_b_factors_are_refused(small, tmp_path):
    for name, message in (("model.pdb", "written as mmCIF"), ("no/such/folder.cif", "cannot be written")):
        with pytest.raises(StructureError, match=message):
            write_model(tmp_path / name, small)
    with pytest.raises(StructureError, match="one per bead"):
        write_model(tmp_path / "out.cif", small, b_factors=[1.0])
    assert list(Path(tmp_path).glob("*.cif*")) == []


def test_a_translated_model_is_moved_in_atoms_beads_and_structure_alike(small):
    moved = small.translated([1.0, -2.0, 3.0])
    step = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(moved.positions, small.positions + step)
    np.testing.assert_allclose(moved.beads.positions, small.beads.positions + step)
    np.testing.assert_allclose([cra.atom.pos.tolist() for cra in moved.structure[0].all()], moved.positions)
    np.testing.assert_array_equal([cra.atom.pos.tolist() for cra in small.structure[0].all()], small.positions)


def test_anisotropic_displacements_do_not_follow_moved_atoms(shared_data):
    model = read_model(shared_data / "models/gemmi/1orc.pdb")
    model.structure[0][0][0][0].aniso = gemmi.SMat33f(1, 1, 1, 0, 0, 0)
    assert not model.with_positions(model.positions)[0][0][0][0].aniso.nonzero()


def test_writing_the_phytochrome_model(shared_data, tmp_path, benchmark):
    """Single file of 15,240 atoms from a prepared writer (benchmark, not timed in the tests)."""
    writer = ModelWriter(read_model(shared_data / "models/cryosphere_base_structure_flex_centered.pdb"))
    benchmark(writer.write, tmp_path / "out.cif")
