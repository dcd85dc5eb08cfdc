"""The bias page: what the density supports of the model, and the pictures that show it."""

from __future__ import annotations

from datetime import datetime
from html import escape
from pathlib import Path

import numpy as np

from cryosphere.presentation.page import Head, Picture, counted, facts, figure, page
from cryosphere.presentation.style import png
from cryosphere.volumes.bias_pictures import MOST_CHAINS, correlation_figure, state_figure, support_figure
from cryosphere.volumes.bias_wording import LIMITS, METHOD, advice, comparison, conclusion
from cryosphere.volumes.findings import Findings

_COLOURED = {  # in what unit the difference is drawn; True: of a network's map
    False: " in standard deviations of the noise, six at the ends of the sections' colours",
    True: ", whose deepest colours are as much as white in the rows above",
}


def bias_page(found: Findings, run: Path) -> tuple[str, list[Picture]]:
    """The page as one HTML text, and its pictures, which are in it, to be kept as files too."""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    head = Head("bias", run.name, (str(run), found.method or "density of the run's conformations", now))
    chains, states = _chain_pictures(found), [_state_picture(found, k) for k in range(len(found.states))]
    parts = [
        _facts(found),
        f"<section><h2>What the density says of the model</h2><p>{escape(conclusion(found))}</p>"
        f"<p>{escape(advice(found))}</p></section>",
        "<section><h2>Along the chains</h2>" + "".join(map(figure, chains)) + "</section>",
        "<section><h2>Segments</h2>" + _segments(found) + "</section>",
        f"<section><h2>Each conformation</h2>{_compared(found)}"
        + _states(found)
        + "".join(map(figure, states))
        + "</section>",
        f"<section><h2>How this was found</h2><p>{escape(METHOD)}</p><p>{escape(LIMITS)}</p></section>",
    ]
    return page(head, parts), [*chains, *states]


def _facts(found: Findings) -> str:
    counts = [len(found.rows(verdict)) for verdict in ("supported", "weak", "absent")]
    best = min(state.resolution.angstrom for state in found.states)
    return facts(
        [
            (f"{counts[0]:,}", "residues supported"),
            (f"{counts[1]:,}", "weak: the density does not say"),
            (f"{counts[2]:,}", "absent: not where the model has them"),
            (str(len(found.states)), "conformations compared"),
            (f"{best:.1f} Å" if np.isfinite(best) else "none", "resolution of the best of their maps"),
        ]
    )


def _chain_pictures(found: Findings) -> list[Picture]:
    count = len(np.unique(found.beads.chain))
    shown = f" The {MOST_CHAINS} chains with the lowest values are shown." if count > MOST_CHAINS else ""
    return [
        Picture(
            "support.png",
            "Support along the chains",
            "How much of each residue's density is in the maps, in windows of nine residues: the line, all states "
            "together, with two standard errors; thin lines, each state alone. 1: as most of the model; 0: nothing. "
            "Shaded red: absent; grey: weak. The strip below shows the segments; numbers are those of the input "
            "model." + shown,
            png(support_figure(found)),
        ),
        Picture(
            "correlation.png",
            "Local correlation along the chains",
            "Correlation of each state's map with its structure, seen through the same filter, around each residue "
            "(Gaussian window, 3 Å wider than the resolution). A dip shows where they differ; residues that lie in "
            "density of others may show none. Line: mean of the states." + shown,
            png(correlation_figure(found)),
        ),
    ]


def _state_picture(found: Findings, index: int) -> Picture:
    state = found.states[index]
    absent = found.rows("absent")
    cut = "the centre of the absent residues" if len(absent) else "the centre of the structure"
    marked = " Orange dots: absent residues, where the structure has them." if len(absent) else ""
    return Picture(
        f"state_{index:03d}.png",
        f"Conformation {index}",
        f"Rows: what the map would show of the structure; the map, through the same filter; map less structure"
        f"{_COLOURED[state.bandwidth is None]} (blue: the structure has what the map has not). Left: sections through "
        f"{cut}; right: sums along the lines of sight. Map at {state.resolution}, of "
        f"{counted(round(state.images), 'image')}{_within(state.bandwidth)}.{marked}",
        png(state_figure(found, index)),
    )


def _within(bandwidth: float | None) -> str:
    return "" if bandwidth is None else f" within {bandwidth:.1f} Å RMS of this conformation"


def _segments(found: Findings) -> str:
    rows = "".join(
        f"<tr><td class='name'>{escape(one.name)}</td>"
        f"<td>{escape(', '.join(stretch.words for stretch in one.ranges))}</td>"
        f"<td class='n'>{np.clip(one.support, 0, 1):.2f} ± {one.error:.2f}</td>"
        + "".join(f"<td class='n'>{count:,}</td>" for count in one.counts)
        + f"<td class='name'><b>{one.verdict}</b></td></tr>"
        for one in found.segments
    )
    return (
        "<div class='wide'><table><thead><tr><th>segment</th><th>residues</th><th class='n'>support</th>"
        "<th class='n'>supported</th><th class='n'>weak</th><th class='n'>absent</th><th>verdict</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div><p class='note'>A segment has the verdict of four fifths of its residues; "
        "one of which only a part is there is called weak, and the figures say which part.</p>"
    )


def _compared(found: Findings) -> str:
    said = comparison(found)
    return f"<p class='note'>{escape(said)}</p>" if said else ""


def _states(found: Findings) -> str:
    rows = "".join(
        f"<tr><td class='n'>{k}</td><td class='n'>{round(state.images):,}</td>"
        f"<td class='n'>{escape(str(state.resolution))}</td>"
        f"<td class='n'>{one.support[found.verdicts != 'absent'].mean():.2f}</td><td class='n'>{_absent(found, k)}</td>"
        f"<td class='n'>{found.correlation[k].mean():.3f}</td></tr>"
        for k, (state, one) in enumerate(zip(found.states, found.each, strict=True))
    )
    return (
        "<div class='wide'><table><thead><tr><th class='n'>conformation</th><th class='n'>images</th>"
        "<th class='n'>resolution</th><th class='n'>mean support, rest</th><th class='n'>mean support, absent</th>"
        f"<th class='n'>mean local correlation</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _absent(found: Findings, index: int) -> str:
    rows = found.rows("absent")
    return f"{found.each[index].amplitude[rows].mean():.2f}" if len(rows) else "-"
