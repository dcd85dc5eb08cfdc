"""The run object and the export of structures."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryosphere.analysis.structures import export_structures, parse_indices, read_latents
from cryosphere.errors import InputError

Z = np.random.default_rng(2).normal(size=(30, 2)) * 0.3


@pytest.fixture
def run(make_run):
    return make_run(Z)


def test_latents_are_in_the_order_of_the_input(run):
    assert run.latents == pytest.approx(Z.astype(np.float32))
    assert len(run) == 30
    assert run.latent_dim == 2


def test_a_known_hinge_comes_back_as_angle_and_axis(run):
    relative = run.motions(relative=True)
    assert relative.angles[:, 1] == pytest.approx(np.degrees(np.abs(Z[:, 0])), abs=1e-3)
    assert run.motions([3, 7]).angles == pytest.approx(run.motions().angles[[3, 7]], abs=1e-6)


def test_coordinates_by_row_and_by_latent_agree(run):
    assert run.coordinates([4, 9]) == pytest.approx(run.coordinates(z=Z[[4, 9]]), abs=1e-4)
    assert run.coordinates(4).shape == (1, 101, 3)


def test_the_structure_of_an_image_has_every_atom_and_identifier(run, model_of_two_domains):
    made = run.structure(5)
    original = model_of_two_domains.structure
    assert isinstance(made, gemmi.Structure)
    names = [[(c.name, str(r.seqid), r.name, a.name) for c in s[0] for r in c for a in r] for s in (made, original)]
    assert names[0] == names[1]
    places = np.array([[*site.atom.pos] for site in made[0].all()])
    assert places == pytest.approx(run.model.atom_positions(Z[[5]])[0], abs=1e-3)


def test_metrics_are_a_table_by_epoch(run):
    assert run.metrics["epoch"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("rows", "message"),
    [(30, "row 30 does not exist: the run has 30 images"), (-1, "row -1"), ([0.5], "whole numbers")],
)
def test_rows_that_do_not_exist_are_refused(run, rows, message):
    with pytest.raises(InputError, match=message):
        run.coordinates(rows)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        ([[1.0, 2.0, 3.0]], r"shape \(n, 2\).*found 1 × 3"),
        ([[1.0, np.nan]], "row 0 holds a value that is not finite"),
        (np.zeros((0, 2)), "found 0 × 2"),
        ([["a", "b"]], "real numbers"),
    ],
)
def test_latents_that_do_not_fit_are_refused(run, z, message):
    with pytest.raises(InputError, match=message):
        run.coordinates(z=z)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:10:4", [0, 4, 8]),
        ("0,5,7", [0, 5, 7]),
        ("8:, 1", [8, 9, 1]),
        (":3", [0, 1, 2]),
        ("::5", [0, 5]),
        ("all", list(range(10))),
        ("9", [9]),
        ("7:1000", [7, 8, 9]),
    ],
)
def test_indices_are_read_as_written(text, expected):
    assert parse_indices(text, 10).tolist() == expected


@pytest.mark.parametrize("text", ["10", "12:14", "a", "1,,2", "", "1:2:0", "3:3", "-1", "1.5", "0:5:2:1", "5:2"])
def test_indices_that_make_no_sense_are_refused(text):
    with pytest.raises(InputError):
        parse_indices(text, 10)


def test_a_folder_gets_one_structure_per_image_named_by_its_row(run, tmp_path):
    assert export_structures(run, tmp_path / "out", indices="0:30:12") == 3
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["structure_000000.cif", "structure_000012.cif", "structure_000024.cif"]
    made = gemmi.read_structure(str(tmp_path / "out" / "structure_000012.cif"))
    places = np.array([[*site.atom.pos] for site in made[0].all()])
    assert places == pytest.approx(run.model.atom_positions(Z[[12]])[0], abs=1.1e-3)


def test_an_archive_holds_coordinates_in_the_frame_and_order_of_the_model(run, tmp_path, model_of_two_domains):
    export_structures(run, tmp_path / "deep" / "out.npz", indices="2,1")
    with np.load(tmp_path / "deep" / "out.npz", allow_pickle=False) as archive:
        assert archive["coordinates"].dtype == np.float32
        assert archive["coordinates"] == pytest.approx(run.coordinates([2, 1]))
        assert archive["index"].tolist() == [2, 1]
        assert archive["chain"].tolist() == model_of_two_domains.beads.chain.tolist()
        assert archive["residue"].tolist() == model_of_two_domains.beads.number.tolist()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out.npz"]


def test_given_latents_are_numbered_by_their_own_rows(run, tmp_path):
    np.save(tmp_path / "z.npy", Z[[8, 3]])
    export_structures(run, tmp_path / "out.npz", z=tmp_path / "z.npy")
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["index"].tolist() == [0, 1]
        assert archive["coordinates"] == pytest.approx(run.coordinates([8, 3]), abs=1e-4)


def test_structures_of_an_earlier_export_are_neither_mixed_nor_replaced_unless_told(run, tmp_path):
    folder = tmp_path / "out"
    export_structures(run, folder, indices="0:30:10")
    mine = [folder / "notes.txt", folder / "structure_best.cif"]
    for file in mine:
        file.write_text("mine")
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(InputError, match=r"3 structure\(s\), structure_000000.* to structure_000020.*--overwrite"):
        export_structures(run, folder, indices="5")
    with pytest.raises(InputError, match="99"):
        export_structures(run, folder, indices="99", overwrite=True)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert export_structures(run, folder, indices="5", overwrite=True) == 1
    assert sorted(folder.iterdir()) == sorted([*mine, folder / "structure_000005.cif"])


def test_an_archive_that_exists_is_replaced_only_when_told(run, tmp_path):
    (tmp_path / "out.npz").write_text("mine")
    with pytest.raises(InputError, match=r"exists already.*--overwrite"):
        export_structures(run, tmp_path / "out.npz", indices="0")
    assert (tmp_path / "out.npz").read_text() == "mine"
    export_structures(run, tmp_path / "out.npz", indices="0", overwrite=True)
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["index"].tolist() == [0]


@pytest.mark.parametrize(("model", "name"), [("1ake.pdb", "1ake"), ("my model.cif.gz", "my_model"), ("é.cif", "model")])
def test_structures_are_named_after_the_model_that_was_given(run, tmp_path, model, name):
    run.model.config.model = Path("elsewhere") / model
    export_structures(run, tmp_path / "out", indices="0")
    block = gemmi.cif.read(str(tmp_path / "out" / "structure_000000.cif")).sole_block()
    assert (block.name, gemmi.cif.as_string(block.find_value("_entry.id"))) == (name, name)


def test_latents_as_text_are_refused_without_words_about_pickles(tmp_path):
    (tmp_path / "z.csv").write_text("0.1,0.2\n0.3,0.4\n")
    with pytest.raises(InputError, match=r"z.csv: cannot be read as latents; .*not text or CSV") as found:
        read_latents(tmp_path / "z.csv", 2)
    assert "pickle" not in str(found.value)


def test_nothing_is_left_behind_when_the_input_is_wrong(run, tmp_path):
    (tmp_path / "text.npy").write_text("not numpy")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "wide.npy", np.zeros((3, 5)))
    for name in ("text", "objects", "wide", "missing"):
        with pytest.raises(InputError, match=name):
            export_structures(run, tmp_path / "out", z=tmp_path / f"{name}.npy")
    with pytest.raises(InputError):
        export_structures(run, tmp_path / "out", indices="99")
    with pytest.raises(InputError, match="not both"):
        export_structures(run, tmp_path / "out", indices="0", z=tmp_path / "wide.npy")
    assert not (tmp_path / "out").exists()


@given(st.text("0123456789:,- alx٣", max_size=12))
def test_any_text_of_indices_is_rows_of_the_run_or_an_input_error(text):
    try:
        rows = parse_indices(text, 100)
    except InputError:
        return
    assert len(rows) > 0
    assert ((rows >= 0) & (rows < 100)).all()


@given(st.data())
def test_a_damaged_latents_file_is_an_input_error(data):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 2), dtype=np.float32))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 127))] = data.draw(st.sampled_from(b"(){}'[],:0129<>fOL \x00\xffPK"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "z.npy"
        path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
        with contextlib.suppress(InputError):
            assert read_latents(path, 2).shape[1] == 2


@pytest.mark.parametrize("name", ["out.pdb", "out.cif", "out.npy"])
def test_an_output_that_is_neither_folder_nor_npz_is_refused(run, tmp_path, name):
    with pytest.raises(InputError, match="folder"):
        export_structures(run, tmp_path / name, indices="0")


def test_a_failure_while_writing_leaves_no_half_archive(run, tmp_path):
    def fail(z):
        raise RuntimeError("the device is gone")

    run.model.bead_positions = fail
    with pytest.raises(RuntimeError):
        export_structures(run, tmp_path / "out.npz", indices="0")
    assert list(tmp_path.glob("*.npz")) + list(tmp_path.glob(".out*")) == []
