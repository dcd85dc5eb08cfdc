"""A command file for ChimeraX: opens the traversal along PC1 and colours residues by segment, as in the pictures."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.colors import to_hex

from cryosphere.analysis.segments import ResidueRange, Segmentation
from cryosphere.presentation.style import segment_colours


def segment_commands(segmentation: Segmentation, traversal: str) -> str:
    """The file's text. `traversal`: the structures to open, relative to the folder of the file.

    A chain without a name cannot be addressed: its residues are addressed by number alone, which means those of all
    chains, and the chains that have names are coloured afterwards.
    """
    colours = segment_colours(segmentation.residues)
    lines = [
        "# ChimeraX: segments in the colours of report.html. If the structures are not found, cd to this folder first.",
        f"open {traversal} coordsets true",
        f"color #1 {to_hex(colours[-1])}",
    ]
    chains = sorted(
        {one.chain for ranges in segmentation.ranges for one in ranges}, key=lambda name: (name != "", name)
    )
    for chain in chains:
        for segment, ranges in enumerate(segmentation.ranges):
            mine = [one for one in ranges if one.chain == chain]
            lines += [f"color {target} {to_hex(colours[segment])}" for target in _targets(chain, mine)]
    return "\n".join([*lines, "cartoon", "coordset slider #1"]) + "\n"


def _targets(chain: str, ranges: Iterable[ResidueRange]) -> list[str]:
    """Target specifications of residues of one chain; the minus of a negative number would be taken for a range's."""
    prefix = f"/{chain}" if chain else ""
    plain, found = [], []
    for one in ranges:
        if "-" in one.first + one.last:
            low, high = (number.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for number in (one.first, one.last))
            found.append(" & ".join([*([prefix] if prefix else []), f"::number>={low}", f"::number<={high}"]))
        else:
            plain.append(one.first if one.first == one.last else f"{one.first}-{one.last}")
    return [*found, *([f"{prefix}:{','.join(plain)}"] if plain else [])]
