"""The page of a preparation: what was found, what was chosen and why, with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from cryosphere.preparation.pictures import pictures
from cryosphere.preparation.result import Preparation
from cryosphere.preparation.wording import hand_sentence, placed_sentence, runner_up_sentence
from cryosphere.presentation.page import Head, facts, figure, page, words


def page_text(found: Preparation, title: str, files: dict[str, str], next_commands: str) -> str:
    """The page as HTML. files: what lies beside it and what that is; next_commands: what to type now."""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    placement = found.placement
    rows = [("map", ". ".join(found.consensus.how))]
    rows += [("placement", placed_sentence(placement)), ("coordinates", placement.frame)]
    rows += [("runner-up", runner_up_sentence(placement)), ("hand", hand_sentence(placement))]
    rows += [("compared at", f"{placement.resolution:.3g} Å, {placement.resolution_reason}")]
    chosen = [(one.name, one.shown, one.reason) for one in found.choices.listed]
    parts = [
        _facts(found),
        _doubts(found),
        "<section><h2>Settings that were chosen</h2>" + _table(("setting", "value", "reason"), chosen) + "</section>",
        "<section><h2>Map and model</h2>" + _table(("", "found"), rows) + "</section>",
        "<section><h2>Pictures</h2>" + "".join(map(figure, pictures(found))) + "</section>",
        "<section><h2>Files</h2>" + _table(("file", "content"), list(files.items())) + "</section>",
        f"<section><h2>Next</h2><pre>{escape(next_commands)}</pre></section>",
    ]
    return page(Head("prepare", title, (f"{found.images:,} images", now)), parts)


def _facts(found: Preparation) -> str:
    placement, low_pass = found.placement, found.choices.low_pass.value
    return facts(
        [
            (
                _figure(placement.chosen.in_map),
                f"correlation with the map, {_figure(placement.before.in_map)} before",
            ),
            (
                f"{placement.chosen.image_correlation:+.3f}",
                f"with the images, {placement.before.image_correlation:+.3f} before",
            ),
            ({"wrong": "wrong?", "unclear": "unclear"}.get(placement.hand, placement.hand), "hand of map and poses"),
            ("none" if low_pass is None else f"{low_pass:g} Å", "low-pass, where model and map agree by 0.5"),
            (f"{found.choices.box.value}", f"pixels of {found.pixel_size:.2f} Å: the box"),
        ]
    )


def _figure(correlation: float | None) -> str:
    return "none" if correlation is None else f"{correlation:.2f}"


def _doubts(found: Preparation) -> str:
    said = "<p>Model, map and images belong together as far as this can see.</p>"
    if found.warnings:
        items = "".join(f"<li>{words(warning)}</li>" for warning in found.warnings)
        said = f"<div class='doubts'><h3>Look at this before training</h3><ul>{items}</ul></div>"
    return f"<section><h2>Verdict</h2>{said}</section>"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = ""
    for first, *rest in rows:
        cells = "".join(f"<td>{words(cell)}</td>" for cell in rest)
        lines += f"<tr><td class='name'>{escape(first)}</td>{cells}</tr>"
    return f"<table><tr>{titles}</tr>{lines}</table>"
