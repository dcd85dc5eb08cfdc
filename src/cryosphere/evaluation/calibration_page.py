"""What the page of an evaluation says about the run's intervals."""

from __future__ import annotations

from html import escape

from cryosphere.evaluation.calibration import Calibration, Coverage
from cryosphere.evaluation.judgement import with_unit
from cryosphere.presentation.page import counted

ASKED = ((0.60, 0.76), (0.90, 0.98))  # shares that count as right at the 68 % and the 95 % interval


def is_right(coverage: Coverage) -> bool:
    """Whether the truth lies within the intervals about as often as it should."""
    return all(low <= share <= high for share, (low, high) in zip(coverage.inside, ASKED, strict=True))


def calibration_section(found: Calibration) -> str:
    """How often the truth lies within the intervals, as HTML."""
    right = sum(map(is_right, found.coverages))
    own = (
        "Too few images were held out to tell the structures' own error, so the intervals are of the latents alone."
        if found.structure_error is None
        else f"Held-out images say that the structures are off by {found.structure_error:.2f} Å (RMS over residues) "
        "whatever the latent; the intervals hold this, too."
    )
    rows = "".join(
        f"<tr><td class='name'>{escape(one.name)}</td>"
        + "".join(f"<td class='n'>{100 * share:.0f} %</td>" for share in (*one.inside, *one.latent_inside))
        + "".join(f"<td class='n'>{escape(with_unit(value, one.unit))}</td>" for value in (one.sd, one.error))
        + "</tr>"
        for one in found.coverages
    )
    return (
        f"<section><h2>How sure, and how right</h2><p>In {counted(found.images, 'image')}, {right} of "
        f"{len(found.coverages)} figures have the truth within their 68 % and 95 % intervals 60–76 % and 90–98 % of "
        f"the time. {own}</p><div class='wide'><table><thead><tr><th>figure</th><th class='n'>within 68 %</th>"
        "<th class='n'>within 95 %</th><th class='n'>latents alone: 68 %</th><th class='n'>95 %</th>"
        f"<th class='n'>standard deviation</th><th class='n'>error</th></tr></thead><tbody>{rows}</tbody></table></div>"
        "<p class='note'>Standard deviation and error: root mean squares over the images. Structures are compared as "
        "they lie. A residue's interval is a ball about its predicted place; residues that an image lacks do not "
        "count.</p></section>"
    )
