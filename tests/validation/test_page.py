"""What the page of a validation says once, what it says of each motion, and how wide its table is."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.validation.made_up import validation

from cryosphere.validation.page import render

PAGE_WIDTH = 912  # pixels of text across a page
LETTER, GAP = 8.6, 10  # pixels of a letter of a table, at most, and between its columns


def cells_of(page: str) -> list[list[str]]:
    """The text of each cell of the table of motions, with its heads."""
    table = page[page.index("<table>") : page.index("</table>")]
    rows = re.findall("<tr>(.*?)</tr>", table)
    return [[re.sub("<.*?>", "", cell) for cell in re.findall("<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


def test_the_gain_of_all_motions_together_is_said_once():
    found = validation((0.5, 0.05), (0.4, 0.05), (0.1, 0.05))
    said = "assed: gain of all motions together over the base structure: +15.400 ± 0.250"
    assert all(sum(said in reason for reason in one.reasons) == 1 for one in found.motions)
    page = render(found, [])
    assert page.count(said) == 1
    assert page.index(said) < page.index("<h3>motion 1")
    for one in found.motions:
        for reason in one.reasons:
            assert said in reason or f"<li>{reason}</li>" in page.replace("&#x27;", "'")


def test_where_the_models_have_no_motion_the_page_says_why():
    page = render(validation(), [])
    assert "<h3>motion 1: not supported</h3>" in page
    assert "gives all images the same structure" in page
    assert "One test is of all motions" not in page


def test_the_table_has_what_the_reasons_do_not_say():
    heads, *rows = cells_of(render(validation((0.5, 0.05), (0.4, 0.05)), []))
    assert [row[0].split(" (")[0] for row in rows] == ["motion 1", "motion 2"]
    assert not any("over" in head for head in heads)
    figures = dict(zip(heads, rows[0], strict=True))
    assert figures["correlation"] == "0.400"
    assert figures["largest, Å"] == "6.9, 6.9"  # 4 Å along each axis


def test_the_table_is_no_wider_than_the_page():
    """What may not be broken, at its widest: the longest verdict and the component that a motion goes with."""
    found = validation((-0.5, 0.05))
    motion = replace(found.motions[0], component="pc10", component_correlation=0.987, largest_amplitude=(12.3, 45.6))
    page = render(replace(found, motions=(motion,)), [])
    (row,) = re.findall("<tr><td.*?</tr>", page)
    least = 14 * float(re.findall(r"min-width:([0-9]+)em", row)[0])
    others = [re.sub("<.*?>", "", cell) for cell in re.findall("<td class.*?>(.*?)</td>", row)]
    words = [
        max(cell, max(head.split(), key=len), key=len) for cell, head in zip(others, cells_of(page)[0][1:], strict=True)
    ]
    assert least + GAP + sum(LETTER * len(word) + GAP for word in words) < PAGE_WIDTH
