"""What is said of a model's support in the density, in sentences that claim no more than the figures do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from cryosphere.presentation.page import counted
from cryosphere.structures.ranges import ResidueRange
from cryosphere.volumes.findings import Findings

_MOST = 6  # stretches named in a sentence
_SAME = 1.0  # Å: structures of states that differ by less are told as one conformation

METHOD: Final = (
    "Each state's map is taken as a sum of its residues' densities, each times an amplitude: one where the residue is "
    "there as most are, zero where it is not. All amplitudes are found together (weighted least squares), so that "
    "residues that the model has put into the density of others do not pass for seen. Where a map is made of images "
    "within some distance of a conformation, the mean density of their structures is expected, so that what moves "
    "among them is blurred, not absent. Each spatial frequency counts "
    "by how well the half-maps and the structure agree there; along a chain amplitudes are nearly constant, but may "
    "jump. Support is the amplitude in windows of nine residues, cut to 0 to 1. Its error holds the noise, what the "
    "structures do not explain, and how far residues scatter about one another."
)
LIMITS: Final = (
    "What this cannot tell: a residue that takes many places at once, as in a loop that no state's map shows, is as "
    "absent as one that was never in the sample; a residue whose place in the structure is wrong by more than about "
    "half the resolution counts as absent there, and its density shows red beside it in the difference maps. "
    "Amplitudes are relative to most of the model, of which at least a "
    "half should be there. Maps are made with the run's poses and latents: errors of those blur them."
)


OF_ONE_STRUCTURE: Final = (
    "These maps come from a network that saw all images, not from images within some distance of a conformation: each "
    "is compared with the single structure at its latent, where a map by kernel regression is compared with the mean "
    "density of its images' structures, so that what the network has blurred over several conformations finds less "
    "support here. What the network has not learned of a state is in both half-maps alike, so the noise, which is told "
    "from their difference, is less than what may be wrong in the map. So the pictures show map less structure beside "
    "the structure's own density; difference_000.mrc and so on hold it in standard deviations of that noise, in which "
    "it looks worse than it is."
)


def comparison(found: Findings) -> str:
    """How maps of a network were compared, and what their noise leaves out; empty for those of kernel regression."""
    return OF_ONE_STRUCTURE if any(state.bandwidth is None for state in found.states) else ""


def conclusion(found: Findings) -> str:
    """One paragraph: what the density supports, what is in the model but not in it, and what it does not tell."""
    absent, weak = found.rows("absent"), found.rows("weak")
    total = len(found.verdicts)
    if total == len(found.rows("supported")):
        said = f"The density supports all {total:,} residues of the model."
    else:
        said = f"The density supports {len(found.rows('supported')):,} of the model's {total:,} residues."
    if len(absent):
        mean, error = (float(values[absent].mean()) for values in (found.along.amplitude, found.along.error))
        said += (
            f" {_named(found.stretches('absent'))} {'is' if len(absent) == 1 else 'are'} not where the model has them: "
            f"of their density {np.clip(mean, 0, 1):.2f} ± {error:.2f} is found there, where it would be 1."
        )
    if len(weak):
        named = _named(found.stretches("weak"))
        said += f" Of {named[:1].lower()}{named[1:]} the density does not say whether they are there."
    return f"{said} {_states(found)}"


def advice(found: Findings) -> str:
    """What to do about it."""
    if len(found.rows("absent")):
        return (
            "If these residues were not in the sample, or are disordered in all of its conformations, leave them out "
            "of the model and train again: as long as they are in it they pull on the poses and motions of the "
            "segments that hold them. Do not interpret where the structures put them. First look at the difference "
            "maps: red density beside these residues that nothing explains says that they are misplaced, not missing."
        )
    if len(found.rows("weak")):
        return "More images, or fewer and larger states, would tell; until then leave the weak stretches uninterpreted."
    return "Nothing in these maps speaks against any part of the model."


def _states(found: Findings) -> str:
    finest = [state.resolution for state in found.states]
    best = min(finest, key=lambda one: one.angstrom)
    worst = max(finest, key=lambda one: one.angstrom)
    how = str(best) if str(best) == str(worst) else f"{best} to {worst}"
    made = f" ({found.method})" if found.method else ""
    moved = np.stack([seen.residues.places for seen in found.maps])
    apart = float(np.sqrt(np.square(moved - moved.mean(0)).sum(-1).mean(-1)).max()) if len(moved) > 1 else 0.0
    different = f", whose structures differ by up to {apart:.1f} Å RMS from their mean" if apart > _SAME else ""
    count = counted(len(found.states), "conformation")
    return f"This rests on the density of {count}{made}{different}, at a resolution of {how}."


def _named(ranges: Sequence[ResidueRange]) -> str:
    """Stretches in words: Residues 464-503 of chain B."""
    named = ", ".join(one.words for one in ranges[:_MOST])
    if len(ranges) == 1 and ranges[0].chain and not ranges[0].ligand:
        one = ranges[0]
        noun = "Residue" if one.residues == 1 else "Residues"
        return f"{noun} {one.words.removeprefix(one.chain + ':')} of chain {one.chain}"
    more = f" and {len(ranges) - _MOST} more stretches" if len(ranges) > _MOST else ""
    return f"Residues {named}{more}"
