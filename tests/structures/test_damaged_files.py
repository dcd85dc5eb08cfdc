"""Damaged models: whatever happened to the bytes, the answer is a model or a StructureError."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryosphere.errors import StructureError
from cryosphere.structures import read_model, write_model

_FILES = ("models/gemmi/1orc.pdb", "models/pdb-tools/dummy_insertions.pdb", "models/biopython/1A8O.cif")
_DAMAGE = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12)


@pytest.mark.parametrize("name", _FILES)
@given(cut=st.one_of(st.just(1.0), st.floats(0, 1)), damage=_DAMAGE, packed=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_or_altered_file_gives_a_model_or_a_structure_error(
    shared_data, tmp_path, name, cut, damage, packed
):
    data = bytearray((shared_data / name).read_bytes())
    start = max(0, data.find(b"ATOM  ") - 2000)
    data = data[start if name.endswith(".pdb") else 0 :][:60_000]
    data = data[: int(cut * len(data))]
    if packed:
        data = bytearray(gzip.compress(bytes(data), mtime=0))
    for place, value in damage:
        if data:
            data[int(place * len(data))] = value
    path = tmp_path / "damaged"
    path.write_bytes(bytes(data))
    try:
        model = read_model(path)
    except StructureError as error:
        assert str(path) in str(error)
        return
    assert np.isfinite(model.beads.positions).all()
    assert np.isfinite(model.beads.amplitudes).all()
    assert (model.beads.amplitudes > 0).all()
    assert model.atom_bead.max() == len(model.beads) - 1
    write_model(tmp_path / "written.cif", model)
    again = read_model(tmp_path / "written.cif")
    assert len(again.positions) == len(model.positions)


@given(content=st.one_of(st.text(max_size=300), st.binary(max_size=300)))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_text_and_bytes_are_refused(tmp_path, content):
    path = tmp_path / "anything.pdb"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StructureError):
        read_model(path)
