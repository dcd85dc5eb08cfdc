"""One page, readable without anything else, that tells a biologist what a run found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from html import escape
from urllib.parse import quote

import numpy as np

from cryosphere.analysis.findings import NEGLIGIBLE_MOTION, Findings, warnings
from cryosphere.analysis.occupancy import ABSENT, WHOLE, ranges_of
from cryosphere.analysis.report_page import FILES
from cryosphere.analysis.run import ONE_BODY
from cryosphere.analysis.segments import FIXED, ResidueRange
from cryosphere.presentation.page import Head, Picture, counted, facts, figure, page, words
from cryosphere.structures.ranges import residue_ranges
from cryosphere.training.moving_parts import MovingParts

_MOST_SENTENCES = 6
_MOST_RANGES = 8


@dataclass(frozen=True)
class Origin:
    """Where a report comes from: shown at its head and foot."""

    run: str  # name of the run directory
    date: str
    model: str
    particles: str
    settings: str  # config.yaml as text
    notes: Sequence[str]  # what was chosen for the user before training, and why
    versions: Mapping[str, str]


def render(
    findings: Findings, pictures: Sequence[Picture], files: Sequence[str], origin: Origin, truth: str = ""
) -> str:
    """The report as one HTML text: pictures embedded, no script, nothing loaded from elsewhere.

    `files`: what else lies in the folder of the report, relative to it; they are linked. `truth`: the section on what
    `evaluate` found, as HTML.
    """
    head = Head("analysis", origin.run, (origin.model, origin.particles, origin.date))
    parts = [
        _facts(findings),
        "<section><h2>In plain words</h2>" + _summary(findings) + _doubts(findings) + "</section>",
        truth,
        "<section><h2>Segments</h2>" + _segment_table(findings) + _geometry(findings) + "</section>",
        "<section><h2>Pictures</h2>" + "".join(map(figure, pictures)) + "</section>",
        "<section><h2>Files</h2>" + _file_list(files) + "</section>",
        _settings(origin),
    ]
    return page(head, parts)


def _facts(findings: Findings) -> str:
    used, count = len(findings.segmentation.used), findings.segmentation.count
    held_out = f"{findings.fit.deformed:.3f}" if findings.fit else "–"
    compared = f"{findings.fit.images:,} held-out images" if findings.fit else "held-out images (there are none)"
    largest = max((float(findings.along_pc1.residue_rms[s]) for s in findings.moving), default=0.0)
    shown = (
        (f"{findings.images:,}", "images"),
        (f"{len(findings.segmentation.assignment):,}", "residues"),
        *_parts_fact(findings),
        (f"{used} of {count}", "segments used"),
        (f"{largest:.1f} Å", "largest movement of a segment along PC1 (RMS of its residues)"),
        (held_out, f"mean correlation with {compared}"),
    )
    return facts(shown)


def _parts_fact(findings: Findings) -> tuple[tuple[str, str], ...]:
    found = findings.moving_parts
    return () if found is None else ((str(len(found.parts)), f"moving part{'s' if len(found.parts) > 1 else ''}"),)


def _summary(findings: Findings) -> str:
    segmentation = findings.segmentation
    used, count = len(segmentation.used), segmentation.count
    chains = len(np.unique(segmentation.beads.chain))
    share = float(findings.components.explained[0])
    percent = "more than 99 %" if share > 0.995 else f"{100 * share:.0f} %"
    sentences = [
        f"{counted(findings.images, 'image')} ({findings.box} × {findings.box} pixels of {findings.pixel_size:.3g} Å, "
        f"as trained on) {'were' if findings.images > 1 else 'was'} compared with a model of "
        f"{counted(len(segmentation.assignment), 'residue')} in {counted(chains, 'chain')}. "
        + (
            f"Of {counted(count, 'segment')} allowed, {used} {'holds' if used == 1 else 'hold'} residues; the others "
            "are empty."
            if used < count
            else f"All {count} segments allowed hold residues."
        )
    ]
    if findings.moving:
        sentences.append(
            f"The first principal component (PC1) holds {percent} of the variation among the images' latents. "
            f"Between its 5th and 95th percentile, seen from {_reference(findings)}:"
        )
    limit = NEGLIGIBLE_MOTION * findings.pixel_size
    moving = [s for s in findings.moving if findings.along_pc1.residue_rms[s] >= limit]
    still = [s for s in findings.moving if s not in moving]
    items = [_movement_sentence(findings, segment) for segment in moving[:_MOST_SENTENCES]]
    if len(moving) > _MOST_SENTENCES:
        items.append(f"{len(moving) - _MOST_SENTENCES} more move less: see the table below.")
    if still:
        names = ", ".join(f"<b>{segmentation.names[s]}</b>" for s in sorted(still))
        items.append(f"{names} hardly move{'s' if len(still) == 1 else ''} (less than {limit:.1f} Å RMS).")
    closing = [_bodies_sentence(findings), _occupancy_sentence(findings), _fit_sentence(findings)]
    return (
        "".join(f"<p>{sentence}</p>" for sentence in sentences)
        + ("<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>" if items else "")
        + "".join(f"<p>{sentence}</p>" for sentence in closing if sentence)
    )


def _movement_sentence(findings: Findings, segment: int) -> str:
    segmentation, movement = findings.segmentation, findings.along_pc1
    return (
        f"<b>{segmentation.names[segment]}</b> ({_ranges(segmentation.ranges[segment])}; "
        f"{counted(int(segmentation.residues[segment]), 'residue')}) turns by {movement.angles[segment]:.1f}° and its "
        f"centre moves by {movement.displacements[segment]:.1f} Å; its residues move by "
        f"{movement.residue_rms[segment]:.1f} Å (RMS)."
    )


def _reference(findings: Findings) -> str:
    segmentation, reference = findings.segmentation, findings.reference
    if reference.fixed:
        return f"the {counted(int((segmentation.assignment == FIXED).sum()), 'residue')} that were held fixed"
    inside = np.isin(segmentation.assignment, reference.segments)
    ranges = residue_ranges(segmentation.beads, inside.astype(np.int64))[1]
    names = " + ".join(segmentation.names[s] for s in reference.segments)
    kind = "segment" if len(reference.segments) == 1 else "segments"
    return (
        f"the largest body of residues that moves as one, {kind} <b>{names}</b> "
        f"({_ranges(ranges)}; {counted(int(inside.sum()), 'residue')})"
    )


def _bodies_sentence(findings: Findings) -> str:
    """Which segments belong together: there are usually more of them than moving parts."""
    segmentation, bodies = findings.segmentation, findings.bodies
    if findings.moving_parts is not None:
        return _moving_parts_sentence(findings, findings.moving_parts)
    if len(bodies) == len(segmentation.used) + findings.reference.fixed:
        return ""
    words = []
    for body in bodies:
        names = [segmentation.names[s] if s != FIXED else "the fixed residues" for s in body]
        count = int(np.isin(segmentation.assignment, body).sum())
        words.append(f"<b>{' + '.join(names)}</b> ({counted(count, 'residue')})")
    tolerance = ONE_BODY * findings.pixel_size
    if len(bodies) == 1:
        return f"All segments together move as one rigid body to within {tolerance:.1f} Å (half a pixel, RMS)."
    return (
        f"Segments that move against each other by less than {tolerance:.1f} Å (half a pixel, RMS) between the "
        f"ends of every traversal can be taken as one. That leaves {len(bodies)} parts that move against each other: "
        f"{'; '.join(words)}."
    )


def _moving_parts_sentence(findings: Findings, found: MovingParts) -> str:
    """What the images say of how many parts move, where the number of segments was left to them."""
    of = f"(of {counted(found.segments, 'segment')})"
    if len(found.parts) == 1:
        return f"<b>1 moving part</b> {of}: {found.images:,} images do not tell the molecule from one rigid body."
    segmentation, described = findings.segmentation, []
    for part in found.parts:
        inside = np.isin(segmentation.assignment, part)
        ranges = residue_ranges(segmentation.beads, inside.astype(np.int64)).get(1, ())
        names = " + ".join(segmentation.names[s] for s in part)
        described.append(f"<b>{names}</b> ({_ranges(ranges)}; {counted(int(inside.sum()), 'residue')})")
    fewer = next(merge for merge in found.merges if merge.parts < len(found.parts))
    return (
        f"<b>{len(found.parts)} moving parts</b> {of}: {'; '.join(described)}. As one rigid body the molecule would "
        f"explain each of {found.images:,} images by {found.gain:.3g} ± {found.error:.2g} nats less; these parts keep "
        f"{_percent(found.kept)} of that, one part fewer {_percent(fewer.kept)}."
    )


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.0f} %"


def _occupancy_sentence(findings: Findings) -> str:
    """What the images lack of the input model, where that was learned."""
    found, beads = findings.occupancy, findings.segmentation.beads
    if found is None:
        return ""
    kinds = (
        (found.absent(), f"{{}} of the input model {{}} not in the images (occupancy under {ABSENT})"),
        (found.switching(), "{} {} in some images and not in others"),
        (found.partial(), f"{{}} {{}} only partly there (under {WHOLE}), or smeared by motion that was not learned"),
    )
    told = [
        words.format(counted(int(which.sum()), "residue"), "is" if which.sum() == 1 else "are")
        + f": {_ranges(ranges_of(which, beads))}"
        for which, words in kinds
        if which.any()
    ]
    what = ". ".join(told) if told else f"all residues are there (over {WHOLE})"
    return f"How much of each residue the images show was learned, relative to whole residues: {what}."


def _fit_sentence(findings: Findings) -> str:
    fit = findings.fit
    if fit is None:
        return "No images were held out, so nothing here has been checked on images that the training did not see."
    if not fit.improved:
        return ""  # said among the doubts
    return (
        f"On {counted(fit.images, 'image')} that the training did not see, the moving structures predict the image "
        f"better than the undeformed model: correlation {fit.deformed:.4f} against {fit.undeformed:.4f} "
        f"(difference {fit.gain:+.4f} ± {fit.gain_error:.4f})."
    )


def _doubts(findings: Findings) -> str:
    doubts = warnings(findings)
    if not doubts:
        return ""
    items = "".join(f"<li>{words(doubt)}</li>" for doubt in doubts)
    return f"<div class='doubts'><h3>Reasons for doubt</h3><ul>{items}</ul></div>"


def _segment_table(findings: Findings) -> str:
    segmentation, movement = findings.segmentation, findings.along_pc1
    head = (
        "<tr><th>segment</th><th>residues of the input model</th><th class='n'>count</th>"
        "<th class='n'>of these firm</th>"
        "<th class='n'>rotation (°)</th><th class='n'>shift of centre (Å)</th><th class='n'>residues, RMS (Å)</th></tr>"
    )
    rows = []
    for segment in map(int, segmentation.used):
        figures = f"<td class='n'>{segmentation.residues[segment]}</td><td class='n'>{segmentation.firm[segment]}</td>"
        if findings.reference.segments == (segment,):
            figures += "<td colspan='3' class='ref'>the others are told relative to it</td>"
        else:
            figures += "".join(
                f"<td class='n'>{values[segment]:.1f}</td>"
                for values in (movement.angles, movement.displacements, movement.residue_rms)
            )
        name = segmentation.names[segment] + (" (reference)" if segment in findings.reference.segments else "")
        rows.append(f"<tr><td>{name}</td><td>{_ranges(segmentation.ranges[segment])}</td>{figures}</tr>")
    relative = findings.reference.words(segmentation)
    shared = len(segmentation.assignment) - int(segmentation.firm.sum()) - int((segmentation.assignment == FIXED).sum())
    between = (
        f"{counted(shared, 'residue')} between segments {'belongs' if shared == 1 else 'belong'} to no segment by that "
        "much: shared between two or more, they move by a mixture of the motions, and the chain bends there. "
        if shared
        else ""
    )
    return (
        f"<div class='wide'><table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table></div>"
        f"<p class='note'>Motion between the 5th and 95th percentile of PC1, relative to {relative}. Motion of "
        "the whole molecule cannot be told from an error of the pose; relative motion can. Firm: residues that belong "
        f"to the segment by 0.99 or more. {between}Complete lists: segments.csv.</p>"
    )


def _geometry(findings: Findings) -> str:
    """What the structures are not: atomic models with sound geometry."""
    bonds, beads = findings.bonds, findings.segmentation.beads
    measured = ""
    if bonds is not None:
        pair = [
            f"{beads.chain[r]} {beads.name[r]} {beads.number[r]}{beads.insertion[r]}" for r in bonds.longest_between
        ]
        measured = (
            f"At the ends of the traversals, Cα atoms that follow each other in a chain are {bonds.ends[0]:.1f} to "
            f"{bonds.ends[1]:.1f} Å apart (in the input model {bonds.base[0]:.1f} to {bonds.base[1]:.1f} Å), the "
            f"longest between {escape(' and '.join(' '.join(p.split()) for p in pair))}. "
        )
    return (
        "<p class='note'>Structures are rigid segments joined without energy minimisation: bonds at segment borders "
        f"are stretched or squeezed. {measured}Regularise the geometry before using them as atomic models. A weight "
        "on loss.continuity in training holds the segments together.</p>"
    )


def _ranges(ranges: Sequence[ResidueRange]) -> str:
    """Residue ranges as text for people; the longest ones where there are many."""
    shown = sorted(ranges, key=lambda r: -r.residues)[:_MOST_RANGES]
    words = []
    for one in ranges:
        if one not in shown:
            continue
        between = "–" if "-" not in one.first + one.last else " to "
        span = one.first if one.first == one.last else f"{one.first}{between}{one.last}"
        ligand = f" ({one.ligand})" if one.ligand else ""
        words.append(escape(f"{one.chain} {span}{ligand}".strip()))
    more = len(ranges) - len(words)
    return ", ".join(words) + (f" and {more} more" if more else "")


def _file_list(files: Sequence[str]) -> str:
    """One row per kind of file: links, and what it is; FILES gives kinds and order."""
    rows, listed = [], set[str]()
    for pattern, meaning in FILES.items():
        names = [name for name in files if fnmatch(name, pattern) and name not in listed]
        listed.update(names)
        links = ", ".join(f"<a href='{quote(name)}'>{escape(name.rpartition('/')[2])}</a>" for name in names)
        folder = escape(pattern.rpartition("/")[0])
        if names:
            rows.append(f"<tr><td>{folder + '/ ' if folder else ''}{links}</td><td>{words(meaning)}</td></tr>")
    return f"<table class='files'><tbody>{''.join(rows)}</tbody></table>"


def _settings(origin: Origin) -> str:
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in origin.versions.items())
    notes = "".join(f"<li>{words(note)}</li>" for note in origin.notes)
    return (
        "<section><h2>Settings and versions</h2>"
        + (f"<p>Chosen automatically before training:</p><ul>{notes}</ul>" if notes else "")
        + "<details>"
        f"<summary>config.yaml of this run</summary><pre>{escape(origin.settings)}</pre></details>"
        f"<p class='note'>{versions}</p></section>"
    )
