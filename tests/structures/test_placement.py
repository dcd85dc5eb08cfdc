"""Models inside and outside the images' box."""

from __future__ import annotations

import numpy as np
import pytest

from cryosphere.errors import StructureError
from cryosphere.structures import check_inside_box, read_model

from .models import pdb_atom


@pytest.fixture
def phytochrome(shared_data):
    return read_model(shared_data / "models/cryosphere_base_structure_flex_centered.pdb")


def test_a_model_in_the_middle_of_a_large_box_passes_silently(phytochrome, caplog):
    check_inside_box(phytochrome.translated([28, 7, 26]), box=128, pixel_size=2.0)
    assert caplog.text == ""


def test_a_model_outside_is_refused_with_the_shift_that_centres_it(phytochrome):
    away = phytochrome.translated([200.0, 0.0, 0.0])
    with pytest.raises(StructureError, match="outside the box of 128 pixels of 2 Å") as caught:
        check_inside_box(away, box=128, pixel_size=2.0)
    shift = [float(value) for value in str(caught.value).split("by (")[1].split(")")[0].split(",")]
    centre = np.average(away.beads.positions, axis=0, weights=away.beads.amplitudes)
    assert shift == pytest.approx(-centre, abs=0.05)  # given to a tenth of an Å
    check_inside_box(away.translated(shift), box=128, pixel_size=2.0)


def test_a_model_larger_than_the_box_is_told_the_box_it_needs(phytochrome):
    with pytest.raises(StructureError, match="even a centred model would need a box of") as caught:
        check_inside_box(phytochrome, box=32, pixel_size=1.0)
    needed = int(str(caught.value).split("need a box of ")[1].split(" ")[0])
    centred = phytochrome.translated([28, 7, 26])
    check_inside_box(centred, box=needed + 4, pixel_size=1.0)


@pytest.mark.parametrize(("offset", "level"), [(14.0, "INFO"), (16.0, "INFO"), (30.0, "WARNING")])
def test_the_offset_of_the_centre_is_told_and_warned_of_where_it_is_far(tmp_path, caplog, offset, level):
    """Forty beads 3.8 Å apart on a line: the radius of gyration is 3.8 Å sqrt((40² - 1) / 12) = 43.9 Å."""
    path = tmp_path / "line.pdb"
    path.write_text("".join(pdb_atom("CA", number=i + 1, at=(3.8 * (i - 19.5), offset, 0)) for i in range(40)))
    caplog.set_level("INFO", "cryosphere.structures.placement")
    check_inside_box(read_model(path), box=64, pixel_size=4.0, source=path)
    (record,) = [one for one in caplog.records if one.name == "cryosphere.structures.placement"]
    assert record.levelname == level
    assert f"{path}: the model's centre is {offset:.1f} Å from the box centre" in record.getMessage()
    assert ("radius of gyration is 44 Å" in record.getMessage()) == (level == "WARNING")
    assert (f"(0.0, {-offset:.1f}, 0.0)" in record.getMessage()) == (level == "WARNING")


def test_a_few_beads_outside_are_only_warned_about(tmp_path, caplog):
    path = tmp_path / "line.pdb"
    path.write_text("".join(pdb_atom("CA", number=i + 1, at=(3.8 * (i - 19), 0, 0)) for i in range(40)))
    check_inside_box(read_model(path), box=37, pixel_size=4.0)
    assert "of 40 beads lie outside" in caplog.text
