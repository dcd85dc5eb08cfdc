"""Pictures of a validation: agreement along the chain, correlations with their null, places, and gains."""

from __future__ import annotations

from typing import Any

import numpy as np

from cryosphere.presentation.page import Picture
from cryosphere.presentation.style import MUTED, TRAIN, VALIDATION, new_figure, png, styled
from cryosphere.structures.beads import Beads
from cryosphere.validation.gains import Gain
from cryosphere.validation.results import Validation

NAMES = ("correlations.png", "places.png", "gains.png", "chain.png")
_COLOURS = {"reproduced": "#009E73", "weak": "#E69F00", "not supported": MUTED}
_MOST_TICKS = 14
_MOST_BREAKS = 40  # chains whose ends are marked
_MOST_POINTS = 3000


def pictures(found: Validation) -> list[Picture]:
    """All of them, in the order of the page; the first two only where both models have a motion."""
    always = [_gains(found), _along_chain(found)]
    return [_correlations(found), _places(found), *always] if found.places.first.shape[1] else always


def _correlations(found: Validation) -> Picture:
    with styled():
        figure = new_figure(6.0, 3.2)
        axes: Any = figure.subplots()
        low, high = np.quantile(found.null, [0.0, 0.99])
        axes.axhspan(low, high, color=MUTED, alpha=0.35, linewidth=0, label="exchanged images (99 of 100)")
        numbers = np.arange(1, len(found.motions) + 1)
        values = [one.correlation for one in found.motions]
        axes.bar(numbers, values, width=0.55, color=[_COLOURS[one.verdict] for one in found.motions], zorder=2)
        for number, one in zip(numbers, found.motions, strict=True):
            axes.text(number, one.correlation + 0.02, one.verdict, ha="center", fontsize=8)
        axes.set(
            xticks=numbers,
            xlim=(0.4, max(len(numbers), 3) + 0.6),
            ylim=(0, 1.08),
            ylabel="correlation of the two models",
        )
        axes.set_xticklabels([_broken(one.name) for one in found.motions], fontsize=7.5)
        axes.legend(fontsize=8, loc="upper right")
        content = png(figure)
    return Picture(
        NAMES[0],
        "Do independent models agree?",
        "Each bar is a motion that both models have: the correlation, over images that neither saw, of where they put "
        "an image along it, one from one half of the frequencies and the other from the other half, so that they share "
        "no noise. The grey band is what remains when images are exchanged with others seen from the same side.",
        content,
    )


def _broken(name: str) -> str:
    first, _, rest = name.partition(" (")
    parts = rest.rstrip(")").split(" ")
    return "\n".join([first, *parts])


def _places(found: Validation) -> Picture:
    first, second = found.places.first[:_MOST_POINTS], found.places.second[:_MOST_POINTS]
    shown = min(3, first.shape[1])
    size = float(np.clip(2000 / max(len(first), 1), 4, 14))
    with styled():
        figure = new_figure(3.2 * shown + 0.4, 3.4)
        panels: Any = figure.subplots(1, shown, squeeze=False)[0]
        for k, axes in enumerate(panels):
            one = found.motions[k]
            axes.scatter(first[:, k], second[:, k], s=size, alpha=0.4, color=_COLOURS[one.verdict], linewidths=0)
            axes.set(xlabel="half 1's model (Å)", title=f"motion {k + 1}: {one.verdict}")
        panels[0].set_ylabel("half 2's model (Å)")
        content = png(figure)
    return Picture(
        NAMES[1],
        "The same images with either model",
        "Each point is an image that neither model saw: its place along the motion (RMS displacement of the residues, "
        "less what the side of view explains), read with half 1's model off one half of the frequencies and with half "
        "2's model off the other. Noise blurs both; what the molecule does lies along a rising line.",
        content,
    )


def _gains(found: Validation) -> Picture:
    """Bars that lie, in a panel for all motions together and one for each: many more than can stand side by side."""
    panels = _gains_of_panels(found)
    bars = [gain for _, _, gains in panels for _, gain in gains]
    largest = max(abs(gain.nats) for gain in bars) or 1.0
    with styled():
        figure = new_figure(10.65, 0.6 + 0.95 * len(panels))
        stacked: Any = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, colour, gains) in zip(stacked, panels, strict=True):
            places = range(len(gains))
            values, errors = ([getattr(gain, x) for _, gain in gains] for x in ("nats", "error"))
            axes.barh(places, values, xerr=[2 * e for e in errors], color=colour, height=0.7, capsize=3)
            axes.axvline(0, color="#444444", linewidth=0.8)
            for place, value, error in zip(places, values, errors, strict=True):
                told = f"{value:+.3f} ± {error:.3f}"  # beyond the axes, where no bar is
                axes.text(1.01, place, told, transform=axes.get_yaxis_transform(), fontsize=9, va="center")
            axes.set_yticks(places, [name for name, _ in gains], fontsize=9)
            axes.set_title(title, pad=3)
            axes.set_xscale("symlog", linthresh=max(0.02 * largest, 1e-3), linscale=0.5)
            axes.invert_yaxis()
        stacked[-1].set_xlabel("gain (nats per image), logarithmic but for the narrow range around 0")
        content = png(figure)
    return Picture(
        NAMES[2],
        "Do the structures foretell what they were not fitted to?",
        "How much better an image's own structure explains frequencies that it was not read off than the alternative "
        "named beside the bar does, on images that neither model saw; bars of two standard errors, figures with one. "
        "Below zero, the alternative is the better explanation. A motion held still is where the side of view alone "
        "would put it; fading residues rest at one place and are brighter or fainter in each image.",
        content,
    )


def _gains_of_panels(found: Validation) -> list[tuple[str, str, list[tuple[str, Gain]]]]:
    """Title, colour, and gains with what they are over: first of all motions together, then of each."""
    together = [
        ("over the base structure", found.gains.over_base),
        ("over one structure for all", found.gains.over_mean),
        ("over other images' structures", found.gains.over_exchanged),
    ]
    panels = [("all motions together", TRAIN, together)]
    for one in found.motions if found.places.first.shape[1] else ():
        own = [
            ("over the motion held still", one.gain_over_held),
            ("over other images' places", one.gain_over_exchanged),
            ("over fading residues", one.gain_over_composition),
        ]
        panels.append((f"{one.name}: {one.verdict}", _COLOURS[one.verdict], own))
    return panels


def _along_chain(found: Validation) -> Picture:
    residues = np.arange(1, len(found.beads) + 1)
    chains = np.asarray(found.beads.chain)
    ends = np.flatnonzero(chains[1:] != chains[:-1]) + 1.5
    with styled():
        figure = new_figure(9.5, 4.6)
        panels: Any = figure.subplots(2, 1, sharex=True)
        panels[0].plot(residues, found.residues.same_data, color=MUTED, linewidth=1.0, label="all frequencies to both")
        panels[0].plot(residues, found.residues.split_data, color=TRAIN, linewidth=1.4, label="different frequencies")
        panels[0].axhline(0, color="#444444", linewidth=0.6)
        panels[0].set(ylabel="correlation of\ndisplacements", ylim=(-0.35, 1.05))
        panels[0].legend(fontsize=8, loc="lower right", ncols=2)
        for k, one in enumerate(found.moves):
            colour = (TRAIN, VALIDATION, "#009E73", "#CC79A7")[k % 4]
            panels[1].plot(residues, one, color=colour, linewidth=1.2, label=f"motion {k + 1}")
        panels[1].set(
            ylabel="displacement\n(Å RMS)", xlabel="residue number in the input model", xlim=(1, len(residues))
        )
        panels[1].set_xticks(*_residue_ticks(found.beads))
        if len(found.moves):
            panels[1].legend(fontsize=8, ncols=4)
        for axes in panels:
            for end in ends[:_MOST_BREAKS]:
                axes.axvline(end, color="#bbbbbb", linewidth=0.6)
        content = png(figure)
    return Picture(
        NAMES[3],
        "Along the chain",
        "Above: whether the two models displace a residue alike in the same images. Shown all frequencies they also "
        "share the images' noise, which alone can make them agree (grey); from different frequencies they share the "
        "signal alone (blue), and noise lowers the value even where both are right. Below: how far each motion moves "
        "the residues, mean of both models. Thin vertical lines are ends of chains.",
        content,
    )


def _residue_ticks(beads: Beads) -> tuple[list[int], list[str]]:
    """Where along the model round residue numbers are, and what they are called: the chain, where there are several."""
    several = len(np.unique(beads.chain)) > 1
    steps = [size * 10**power for power in range(6) for size in (1, 2, 5)]
    step = next((one for one in steps if np.sum(beads.number % one == 0) <= _MOST_TICKS), steps[-1])
    rows = np.flatnonzero(beads.number % step == 0)[:_MOST_TICKS]
    names = [f"{beads.chain[k]}:{beads.number[k]}" if several else str(beads.number[k]) for k in rows.tolist()]
    return (rows + 1).tolist(), names
