"""A run against the truth as one page, and the part of it that the report of the run shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

import numpy as np

from cryosphere.evaluation.calibration_page import calibration_section
from cryosphere.evaluation.fsc import FscFigures, FscResult, FscSummary
from cryosphere.evaluation.judgement import NEAR, SHORT, failures, ratio, with_unit
from cryosphere.evaluation.pictures.chains import Strips
from cryosphere.evaluation.pictures.gallery import draw_pictures
from cryosphere.evaluation.results import Agreement, Evaluation, PerImage
from cryosphere.evaluation.wording import describe
from cryosphere.files import replacing, write_text
from cryosphere.presentation.page import Head, counted, facts, figure, page, words
from cryosphere.progress import SILENT, Progress

PAGE = Path("evaluation") / "evaluation.html"  # within the run directory
FIGURES = Path("evaluation.json")
REPORT = Path("analysis") / "report.html"
BEGIN, END = "<!-- against the truth: begin -->", "<!-- against the truth: end -->"
MOST_LISTED = 6


def write_page(
    root: Path,
    evaluation: Evaluation,
    per_image: PerImage,
    fsc: FscResult | None = None,
    strips: Strips | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Write RUN/evaluation/evaluation.html, its pictures beside it as PNG files, and link it from an existing report.

    `fsc`: the curves behind evaluation.fsc. `strips`: the chains with their domains and segments. Without them, their
    pictures are left out.
    """
    folder = root / PAGE.parent
    folder.mkdir(exist_ok=True)
    pictures = draw_pictures(evaluation, per_image, fsc, strips, progress)
    for picture in pictures:
        with replacing(folder / picture.name) as temporary:
            temporary.write_bytes(picture.png)
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    head = Head("evaluation", root.resolve().name, ("predicted structures beside the true ones of a simulation", now))
    volumes = evaluation.fsc
    parts = [
        _facts(evaluation),
        f"<section><h2>In plain words</h2>{BEGIN}{_summary(evaluation)}{END}</section>",
        "<section><h2>Distances and angles</h2>" + _agreement_table(evaluation) + "</section>",
        *([] if volumes is None else ["<section><h2>Volumes</h2>" + _volume_table(volumes) + "</section>"]),
        *([] if evaluation.calibration is None else [calibration_section(evaluation.calibration)]),
        "<section><h2>Pictures</h2>" + "".join(map(figure, pictures)) + "</section>",
        _details(evaluation, per_image),
    ]
    write_text(root / PAGE, page(head, parts))
    link_report(root)
    return root / PAGE


def truth_section(root: Path) -> str:
    """What the report of a run says about the truth, between its marks: empty where there was no evaluation.

    Without evaluation.json, which goes when a run is trained anew, a page is of an earlier run.
    """
    if not ((root / PAGE).is_file() and (root / FIGURES).is_file()):
        return BEGIN + END
    text = (root / PAGE).read_text(encoding="utf-8")
    summary = text.partition(BEGIN)[2].partition(END)[0]
    return (
        f"{BEGIN}<section><h2>Against the truth</h2>{summary}<p><a href='../{PAGE.as_posix()}'>"
        f"The whole evaluation, with pictures</a></p></section>{END}"
    )


def link_report(root: Path) -> None:
    """Renew the section about the truth in a report that was written earlier; without one, nothing happens."""
    report = root / REPORT
    if not report.is_file():
        return
    before, begin, rest = report.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        write_text(report, before + truth_section(root) + after)


def _facts(evaluation: Evaluation) -> str:
    fsc = evaluation.fsc
    shares = [share for share in map(ratio, evaluation.agreements) if share is not None]
    best = evaluation.agreements[0] if evaluation.agreements else None
    items = [(f"{evaluation.images:,}", "images")]
    if shares:
        items.append((f"{100 * float(np.median(shares)):.0f} %", "of the correlation that was possible (median)"))
    elif best is not None:
        items.append((_number(best.correlation, 3), f"correlation of predicted and true {escape(best.name)}"))
    items.append((f"{evaluation.deviation:.2f} Å", f"RMSD to the truth (unmoved: {evaluation.base_deviation:.2f} Å)"))
    if evaluation.lddt is not None:
        items.append((f"{evaluation.lddt.mean:.3f}", f"lDDT (unmoved: {evaluation.lddt.base_mean:.3f})"))
    if fsc is not None:
        found, unmoved = (_detail(one.at_half, fsc, 1) for one in (fsc.beads, fsc.base_beads))
        items.append((f"{found} Å", f"where the FSC falls to 0.5 (unmoved: {unmoved} Å)"))
    return facts(items)


def _summary(evaluation: Evaluation) -> str:
    """What was possible, what was reached, what failed."""
    doubts = failures(evaluation)
    listed = "".join(f"<li>{words(doubt)}</li>" for doubt in doubts)
    return (
        _possible(evaluation)
        + f"<p>{_reached(evaluation)}</p>"
        + (
            f"<div class='doubts'><h3>What failed</h3><ul>{listed}</ul></div>"
            if doubts
            else "<p>Nothing that was checked stands out as wrong.</p>"
        )
    )


def _possible(evaluation: Evaluation) -> str:
    """The figures beside the oracle's."""
    asked = [one for one in evaluation.agreements if ratio(one) is not None]
    if not asked:
        return (
            "<p>The images were simulated, so the true structure of each is known. No oracle was asked, so what "
            "follows says how right the structures are, not how right they could have been.</p>"
        )
    items = "".join(f"<li>{_one(one)}</li>" for one in asked[:MOST_LISTED])
    more = f"<li>{len(asked) - MOST_LISTED} more are in the table.</li>" if len(asked) > MOST_LISTED else ""
    return (
        "<p>The images were simulated, so the true structure of each is known, and so is what the best possible method "
        "could say from one image: the oracle knows all true conformations, the poses and the noise, and lacks only "
        f"which conformation an image shows. On {counted(asked[0].oracle_images, 'image')}, correlations with the "
        f"truth:</p><ul>{items}{more}</ul>"
    )


def _one(agreement: Agreement) -> str:
    share = ratio(agreement) or 0.0
    word = "nearly all of it" if share >= NEAR else "most of it" if share >= SHORT else "missed"
    best = agreement.oracle_mean_error
    possible = "" if best is None else f" (possible {escape(with_unit(best, agreement.unit))})"
    return (
        f"<b>{escape(agreement.name)}</b>: possible {_number(agreement.oracle_correlation, 3)}, reached "
        f"{_number(agreement.correlation_on_oracle_images, 3)}, {100 * share:.0f} % ({word}); mean error "
        f"{escape(with_unit(agreement.mean_error, agreement.unit))}{possible}."
    )


def _reached(evaluation: Evaluation) -> str:
    share = evaluation.deviation / evaluation.base_deviation if evaluation.base_deviation > 0 else math.inf
    sentences = [
        f"Predicted structures are {evaluation.deviation:.2f} Å from the true ones (Cα RMSD, mean over images), the "
        f"base structure without any motion {evaluation.base_deviation:.2f} Å: "
        + (f"{100 * (1 - share):.0f} % of the distance is explained." if share < 1 else "nothing is explained.")
    ]
    parts, fsc = evaluation.partition, evaluation.fsc
    if parts is not None:
        sentences.append(
            f"{parts.segments_used} of {counted(parts.segments_allowed, 'segment')} hold residues and form "
            f"{len(parts.bodies)} {'part that moves' if len(parts.bodies) == 1 else 'parts that move'} as one."
        )
    if fsc is not None:
        found, unmoved = (_detail(one.at_half, fsc, 1) for one in (fsc.beads, fsc.base_beads))
        sentences.append(
            f"As volumes, they agree with the true ones to {found} Å (where the Fourier shell correlation falls to "
            f"0.5; base structure {unmoved} Å), with an area under the curve of {fsc.beads.area:.3f} (base structure "
            f"{fsc.base_beads.area:.3f}, at most {fsc.highest_area:.3f})."
        )
    return " ".join(sentences)


def _agreement_table(evaluation: Evaluation) -> str:
    head = (
        "<tr><th>figure</th><th class='n'>correlation</th><th class='n'>on the oracle's images</th>"
        "<th class='n'>possible</th><th class='n'>share</th><th class='n'>mean error</th>"
        "<th class='n'>true range</th><th class='n'>predicted range</th><th class='n'>axis off by</th></tr>"
    )
    rows = "".join(
        f"<tr><td class='name'>{escape(one.name)}</td>"
        + "".join(
            f"<td class='n'>{cell}</td>"
            for cell in (
                _number(one.correlation, 3),
                _number(one.correlation_on_oracle_images, 3),
                _possible_cell(one),
                _share_cell(one),
                escape(with_unit(one.mean_error, one.unit)),
                _range(one.true_range, one.unit),
                _range(one.predicted_range, one.unit),
                "" if one.axis_error is None else escape(with_unit(one.axis_error, "°")),
            )
        )
        + "</tr>"
        for one in evaluation.agreements
    )
    return (
        f"<div class='wide'><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>"
        "<p class='note'>Correlation over all images; share: reached over possible on the images that the oracle "
        "looked at. Ranges from the 1st to the 99th percentile.</p>"
    )


def _possible_cell(one: Agreement) -> str:
    spread = "" if one.oracle_sd is None or not math.isfinite(one.oracle_sd) else f" ± {one.oracle_sd:.3f}"
    return _number(one.oracle_correlation, 3) + spread


def _share_cell(one: Agreement) -> str:
    share = ratio(one)
    return "–" if share is None else f"{100 * share:.0f} %"


def _volume_table(fsc: FscSummary) -> str:
    kinds: list[tuple[str, FscFigures | None]] = [
        ("beads, predicted", fsc.beads),
        ("beads, base structure", fsc.base_beads),
        ("all atoms, predicted", fsc.atoms),
        ("all atoms, base structure", fsc.base_atoms),
    ]
    rows = "".join(
        f"<tr><td>{name}</td><td class='n'>{_detail(found.at_half, fsc, 2)}</td>"
        f"<td class='n'>{_detail(found.at_0143, fsc, 2)}</td>"
        f"<td class='n'>{found.area:.3f} ± {found.area_sd:.3f}</td></tr>"
        for name, found in kinds
        if found is not None
    )
    true_atoms = "known" if fsc.true_atoms_known else "taken to follow the true residues"
    return (
        "<table><thead><tr><th>volumes</th><th class='n'>FSC = 0.5 at (Å)</th><th class='n'>FSC = 0.143 at (Å)</th>"
        f"<th class='n'>CryoBench area (at most {fsc.highest_area:.3f})</th></tr></thead><tbody>{rows}</tbody></table>"
        f"<p class='note'>Fourier shell correlation with the true structure's volume, for "
        f"{counted(fsc.images, 'image')} spread over the data set; box {fsc.box}, {fsc.pixel_size:.3g} Å per voxel, "
        f"which shows nothing finer than {1 / fsc.frequencies[-1]:.2f} Å. Medians over the images; the area under "
        "|FSC| as CryoBench takes it, mean ± standard deviation (its tables are for a box of 128, where 0.492 is "
        "possible)." + ("" if fsc.atoms is None else f" True atoms are {true_atoms}.") + "</p>"
    )


def _detail(resolution: float, fsc: FscSummary, decimals: int) -> str:
    """A resolution in Å, marked where the grid ends before the curve falls so far."""
    mark = "≤\u00a0" if resolution <= 1.001 / fsc.frequencies[-1] else ""
    return f"{mark}{resolution:.{decimals}f}"


def _details(evaluation: Evaluation, per_image: PerImage) -> str:
    return (
        "<section><h2>In full</h2><details><summary>what <code>cryosphere evaluate</code> printed</summary><pre>"
        f"{escape(describe(evaluation))}</pre></details><p class='note'>"
        "<a href='../evaluation.json'>evaluation.json</a>: "
        f"all figures. <a href='figures.npz'>figures.npz</a>: the values of every image "
        f"({', '.join(escape(str(name)) for name in per_image.names[:MOST_LISTED])}"
        f"{', …' if len(per_image.names) > MOST_LISTED else ''}; deviations, latents), a NumPy archive.</p></section>"
    )


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def _range(values: Sequence[float], unit: str) -> str:
    low, high = (round(value, 1) + 0.0 for value in values)
    return f"{low:.1f} to {high:.1f}{'' if unit == '°' else ' '}{escape(unit)}"
