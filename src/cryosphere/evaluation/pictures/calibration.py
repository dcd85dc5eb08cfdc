"""How often the truth lies within intervals, over how often it should."""

from __future__ import annotations

from matplotlib.figure import Figure

from cryosphere.evaluation.calibration import CURVE, LEVELS, Calibration
from cryosphere.evaluation.calibration_page import ASKED
from cryosphere.evaluation.pictures.panels import TRUE, panels
from cryosphere.presentation.style import MUTED, styled

MOST_LINES = 10


def coverage_curves(found: Calibration) -> Figure:
    """Two panels: intervals with the structures' own error, and of the latents alone; a line for each figure."""
    shown = [*found.coverages[: MOST_LINES - 1], found.coverages[-1]][: len(found.coverages)]
    with styled():
        figure, axes = panels(2, height=4.2)
        whole = "with the structures' own error" if found.structure_error is not None else "latents alone"
        for panel, title, curves in zip(
            axes,
            (whole, "latents alone"),
            ([one.curve for one in shown], [one.latent_curve for one in shown]),
            strict=True,
        ):
            panel.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1)
            for level, (low, high) in zip(LEVELS, ASKED, strict=True):
                panel.fill_between([level - 0.012, level + 0.012], low, high, color=MUTED, alpha=0.35, linewidth=0)
            for k, (one, curve) in enumerate(zip(shown, curves, strict=True)):
                colour = TRUE if one is found.coverages[-1] else f"C{k}"
                panel.plot([0, *CURVE, 1], [0, *curve, 1], color=colour, linewidth=1.4, label=one.name)
            panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="share that the interval is to hold", title=title)
            panel.set_ylabel("share of truths within")
        axes[0].legend(fontsize=7, loc="upper left")
        return figure
