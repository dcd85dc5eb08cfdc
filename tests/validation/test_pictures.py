"""The pictures of a validation: which there are, and whether gains can be read however many motions there are."""

from __future__ import annotations

import numpy as np
import pytest
from tests.validation.made_up import beads, validation

from cryosphere.presentation.page import WIDE
from cryosphere.presentation.style import DPI
from cryosphere.validation import pictures as drawing
from cryosphere.validation.pictures import NAMES, _gains, _residue_ticks, pictures

FOUR = ((0.08, 0.02), (0.35, 0.03), (-0.09, 0.015), (0.004, 0.008))
pytestmark = pytest.mark.usefixtures("no_warnings")


@pytest.fixture
def figure_of_gains(monkeypatch):
    """Draws the gains of a validation, and gives the figure."""
    drawn = []

    def kept(figure):
        drawn.append(figure)
        figure.canvas.draw()
        return b""

    def draw(found):
        monkeypatch.setattr(drawing, "png", kept)
        _gains(found)
        return drawn[0]

    return draw


def test_all_four_are_drawn_where_there_is_motion_and_two_where_there_is_none():
    assert [one.name for one in pictures(validation(*FOUR))] == list(NAMES)
    assert [one.name for one in pictures(validation())] == ["gains.png", "chain.png"]


def test_gains_have_a_panel_for_all_motions_and_one_for_each(figure_of_gains):
    found = validation(*FOUR)
    figure = figure_of_gains(found)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["all motions together", *(f"{one.name}: {one.verdict}" for one in found.motions)]
    assert titles[3].startswith("motion 3 (")
    for axes, gain in zip(figure.axes[1:], FOUR, strict=True):
        assert [bar.get_width() for bar in axes.patches] == [gain[0]] * 3
    assert [bar.get_width() for bar in figure.axes[0].patches] == [15.4, 0.7, -0.015]


@pytest.mark.parametrize("motions", [0, 1, 4])
def test_gains_are_as_wide_as_the_page_and_their_letters_are_not_small(figure_of_gains, motions):
    """On the page a picture of WIDE pixels is 912 wide: nine points are then 10.7 pixels."""
    figure = figure_of_gains(validation(*FOUR[:motions]))
    assert figure.get_figwidth() * DPI <= WIDE
    for axes in figure.axes:
        assert min(text.get_fontsize() for text in [*axes.texts, *axes.get_yticklabels()]) >= 9


def test_the_figures_of_gains_lie_beside_the_bars_not_on_them(figure_of_gains):
    figure = figure_of_gains(validation(*FOUR))
    for axes in figure.axes:
        inside, beside = axes.get_window_extent(), [text.get_window_extent() for text in axes.texts]
        assert all(box.x0 >= inside.x1 for box in beside)
        assert all(box.x1 <= figure.bbox.x1 for box in beside)
        heights = np.array([(box.y0, box.y1) for box in beside])
        assert (heights[:-1, 0] > heights[1:, 1]).all()  # the first is the highest


def test_titles_do_not_lie_on_the_panel_above(figure_of_gains):
    figure = figure_of_gains(validation(*FOUR))
    for above, below in zip(figure.axes[:-1], figure.axes[1:], strict=True):
        assert below._left_title.get_window_extent().y1 <= above.get_window_extent().y0


def test_the_axis_along_the_model_has_residue_numbers_of_the_input():
    places, names = _residue_ticks(beads())
    assert names == [f"{chain}:{number}" for chain in "AB" for number in (10, 20, 30, 40, 50)]
    assert places == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
