"""The pictures of docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cryosphere.benchmarking.bench import Bench
from cryosphere.presentation.style import MUTED, TRAIN, VALIDATION, new_figure, png, styled

_BESIDE: tuple[tuple[float, float], str] = ((6, -3), "left")
_ELSEWHERE: dict[str, tuple[tuple[float, float], str]] = {  # names of points that lie close to others
    "project": ((0, 8), "center"),
    "whole step": ((0, -13), "center"),
}
_LABELS = {"residues": "residues", "segments": "segments", "box": "pixels of an image"}


def growth_picture(found: Mapping[str, Sequence[Bench]]) -> bytes:
    """Time of a step against residues, segments and pixels, on logarithmic axes, as a PNG file."""
    with styled():
        figure = new_figure(10.0, 3.6)
        panels: Any = figure.subplots(1, len(found), sharey=True)
        for axes, (name, results) in zip(np.atleast_1d(panels), found.items(), strict=True):
            sizes = np.array([getattr(result.settings, name) for result in results], dtype=float)
            if name == "box":
                sizes **= 2
            took = np.array([result.spread.step_ms for result in results])
            floor = [result.floor.floor_ms for result in results]
            axes.loglog(sizes, took, "o-", color=TRAIN, label="measured")
            axes.loglog(sizes, floor, "s-", color=VALIDATION, markersize=3, label="floor")
            axes.loglog(sizes, took[-1] * sizes / sizes[-1], "--", color=MUTED, label="proportional to the last")
            axes.set_xlabel(_LABELS[name])
            axes.set_xticks(sizes, [_tick(name, result) for result in results], fontsize=7)
            axes.set_xticks([], minor=True)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_title(held_fixed(name, results[0]), fontsize=8, fontweight="normal")
            axes.grid(visible=True, which="major", color="#e5e5e5")
        panels_list = np.atleast_1d(panels)
        panels_list[0].set_ylabel("training step of 64 images, ms")
        panels_list[0].legend(loc="upper left")
        return png(figure)


def _tick(name: str, result: Bench) -> str:
    size: int = getattr(result.settings, name)
    if name == "box":
        return f"{size}²"
    return f"{size / 1000:g}k" if size >= 1000 else str(size)


def held_fixed(name: str, result: Bench) -> str:
    """What does not grow, of box, residues and segments."""
    s = result.settings
    fixed = {"box": f"{s.box}²", "residues": f"{s.residues:,} residues", "segments": f"{s.segments} segments"}
    return ", ".join(value for key, value in fixed.items() if key != name)


def roofline_picture(results: Sequence[Bench]) -> bytes:
    """Each stage's operations per second against its operations per byte, under the machine's roof, as a PNG file."""
    with styled():
        figure = new_figure(10.0, 4.4)
        panels: Any = figure.subplots(1, len(results), sharey=True, sharex=True)
        for axes, result in zip(np.atleast_1d(panels), results, strict=True):
            _roof(axes, result)
            for stage, work in result.floor.work.items():
                if work.operations:
                    achieved = work.operations / result.spread.stages_ms[stage] / 1e6  # billions per second
                    _point(axes, (work.operations / work.bytes, achieved), stage, TRAIN)
            total = result.floor.operations / result.floor.bytes
            _point(axes, (total, result.floor.operations / result.spread.step_ms / 1e6), "whole step", VALIDATION)
            s = result.settings
            axes.set_title(f"{s.box}², {s.residues:,} residues, {s.segments} segments, {s.batch_size} images")
            axes.set_xlabel("operations per byte moved")
            axes.set(xlim=(0.1, 300), ylim=(0.5, 500))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")
            axes.grid(visible=True, which="major", color="#e5e5e5")
        np.atleast_1d(panels)[0].set_ylabel("billion operations per second")
        return png(figure)


def _roof(axes: Any, result: Bench) -> None:
    machine = result.floor.machine
    intensity = np.geomspace(0.1, 300, 100)
    roof = np.minimum(machine.operations_per_second, machine.bytes_per_second * intensity) / 1e9
    axes.loglog(intensity, roof, color="#444444")
    axes.annotate(
        f"{machine.operations_per_second / 1e9:,.0f} billion operations/s",
        (intensity[-1], roof[-1]),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    axes.annotate(
        f"{machine.bytes_per_second / 1e9:,.1f} GB/s",
        (intensity[35], roof[35]),
        xytext=(-4, 6),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )


def _point(axes: Any, place: tuple[float, float], name: str, colour: str) -> None:
    axes.loglog(*place, "o", color=colour)
    offset, side = _ELSEWHERE.get(name, _BESIDE)
    axes.annotate(name, place, xytext=offset, textcoords="offset points", fontsize=8, color=colour, ha=side)
