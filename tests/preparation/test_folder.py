"""A folder that appears whole or not at all."""

from __future__ import annotations

import pytest

from cryosphere.errors import DiskFullError, RunError
from cryosphere.preparation.folder import appearing, require_free_place

KNOWN = ("a", "b")


def test_a_folder_appears_when_it_is_complete(tmp_path):
    place = tmp_path / "new" / "ready"
    with appearing(place) as hidden:
        (hidden / "a").write_text("1")
        assert not place.exists()
    assert [path.name for path in place.iterdir()] == ["a"]
    assert [path.name for path in place.parent.iterdir()] == ["ready"]


def test_what_fails_leaves_nothing_and_what_was_there_before(tmp_path):
    place = tmp_path / "ready"
    place.mkdir()
    (place / "a").write_text("before")
    with pytest.raises(DiskFullError), appearing(place) as hidden:
        (hidden / "a").write_text("half")
        raise OSError(28, "No space left on device")
    assert (place / "a").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]
    with pytest.raises(ZeroDivisionError), appearing(tmp_path / "new" / "other"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]


def test_what_was_prepared_before_is_replaced_as_a_whole(tmp_path):
    place = tmp_path / "ready"
    for name in KNOWN:
        with appearing(place) as hidden:
            (hidden / name).write_text(name)
    assert [path.name for path in place.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]


def test_a_place_is_free_if_nothing_is_there_that_could_be_lost(tmp_path):
    require_free_place(tmp_path / "new" / "ready", KNOWN, overwrite=False)
    require_free_place(tmp_path, KNOWN, overwrite=False)
    (tmp_path / "a").write_text("")
    with pytest.raises(RunError, match="--overwrite"):
        require_free_place(tmp_path, KNOWN, overwrite=False)
    require_free_place(tmp_path, KNOWN, overwrite=True)
    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match="also holds run"):
        require_free_place(tmp_path, KNOWN, overwrite=True)
    with pytest.raises(RunError, match="not a folder"):
        require_free_place(tmp_path / "a", KNOWN, overwrite=True)
