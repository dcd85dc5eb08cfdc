"""A fit in words: a table for the terminal."""

from __future__ import annotations

from cryosphere.maps.fitting.results import CLEARLY_BETTER, Fit, Solution

_HANDLESS = 9.0  # Å: at coarser resolution a protein and its mirror image are hard to tell apart


def describe(fit: Fit) -> str:
    """What was found, as lines of text: correlations, the motion applied, runners-up, hands, bonds."""
    before = "outside the map" if fit.before is None else f"{fit.before:.3f}"
    lines = [
        f"compared at      {fit.resolution:.3g} Å, {fit.resolution_reason}",
        f"correlation      before {before}, after {fit.best.correlation:.3f} (model and map, within the model's mask)",
        f"applied          {_motion(fit.best)}",
        f"translation      ({', '.join(f'{step:.2f}' for step in fit.best.translation)}) Å, after the rotation",
    ]
    lines += [f"                 {row}" for row in _rows(fit.best)]
    for number, other in enumerate(fit.runners_up, start=2):
        label = f"solution {number}"
        lines.append(f"{label:<16} correlation {other.correlation:.3f}; from the best {_motion(other)}")
    if not fit.runners_up:
        lines.append("other solutions  none; from where the model stands none are looked for")
    lines.append(f"hand             {_hands(fit)}")
    if fit.flexible is not None:
        flexible = fit.flexible
        lines += [
            f"segments         {flexible.segments} moved by {flexible.rmsd:.2f} Å RMS; correlation then "
            f"{flexible.correlation:.3f}",
            f"bonded residues  {flexible.bonds_before[0]:.2f} to {flexible.bonds_before[1]:.2f} Å apart before, "
            f"{flexible.bonds_after[0]:.2f} to {flexible.bonds_after[1]:.2f} Å after",
        ]
    return "\n".join([*lines, f"took             {fit.seconds:.0f} s"])


def _motion(solution: Solution) -> str:
    return f"turned by {solution.turned_degrees:.1f}°, centre moved by {solution.moved:.2f} Å"


def _rows(solution: Solution) -> list[str]:
    return ["rotation [" + " ".join(f"{value:8.5f}" for value in row) + "]" for row in solution.rotation]


def _hands(fit: Fit) -> str:
    if fit.mirrored is None:
        return "the mirrored map was not looked at"
    found = f"correlation as given {fit.best.correlation:.3f}, in the mirrored map {fit.mirrored:.3f}"
    if fit.hand_is_doubtful:
        return f"{found}: THE MAP'S HAND IS PROBABLY WRONG"
    if fit.mirrored < fit.best.correlation - CLEARLY_BETTER:
        return f"{found}: right"
    return f"{found}: cannot be told" + (f" at {fit.resolution:.3g} Å" if fit.resolution > _HANDLESS else "")
