"""Fill the tables of docs/reproduction.md and docs/learning.md from what was measured.

python experiments/tables.py
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import spec

from cryosphere.files import write_text

DOCS = spec.HERE.parent / "docs"
PAGES = {"reproduction.md": ("cpu", "full"), "learning.md": ("cpu",)}
ANSWERS = ("encoder", "uphill", "mean of the posterior")  # of refinement.py
NOTHING = "–"
NOT_COMPARED = ("superposed, Å", "unmoved, Å", "training, s", "on")
MINUS = "−"
POINTS = 10  # of a curve, at most
Record = dict[str, Any]


def write_all() -> None:
    """Every block that a page has markers for."""
    for page, sizes in PAGES.items():
        path = DOCS / page
        text = path.read_text(encoding="utf-8")
        for name in sorted(file.stem for file in spec.HERE.glob("*.yaml")):
            for size in set(sizes) & set(spec.sizes(name)):
                text = _filled(text, f"{name} {size}", table(spec.load(name, size)))
        text = _filled(text, "refinement cpu", refinement_table())
        write_text(path, _filled(text, "curves", curves()))


def curves() -> str:
    """For every training looked at on its way: after how many minutes it was how good; see curve.py."""
    known = _read("curves.json")
    command = "`python experiments/curve.py EXPERIMENT CASE --size SIZE --data FOLDER`"
    if not known:
        return f"Not run yet: {command}."
    lines = []
    for name, record in known.items():
        points = record["points"]
        some = (
            points
            if len(points) <= POINTS
            else [points[round(k * (len(points) - 1) / (POINTS - 1))] for k in range(POINTS)]
        )
        lines += [f"{name}: {record['figure']}, oracle {record['oracle']:.3f}.", ""]
        lines += ["| minutes | " + " | ".join(f"{minutes:.1f}" for minutes, _ in some) + " |"]
        lines += ["|" + "---|" * (len(some) + 1)]
        lines += ["| correlation | " + " | ".join(f"{value:.3f}" for _, value in some) + " |", ""]
    return "\n".join(lines) + "\n" + _measured(list(known.values()), command)


def refinement_table() -> str:
    """A row per training, a column per way of answering; see refinement.py."""
    known: dict[str, dict[str, Record]] = _read("refinement-cpu.json")
    command = "`python experiments/refinement.py --data FOLDER`"
    if not known:
        return f"Not run yet: {command}."
    lines = ["| training | seeds | " + " | ".join(ANSWERS) + " |", "|" + "---|" * (len(ANSWERS) + 2)]
    for row, seeds in known.items():
        cells = [_spread([record[answer] for record in seeds.values()], 3) for answer in ANSWERS]
        lines.append("| " + " | ".join([row, str(len(seeds)), *cells]) + " |")
    records = [record for seeds in known.values() for record in seeds.values()]
    return "\n".join(lines) + "\n\n" + _measured(records, command)


def _read(name: str) -> dict[str, Any]:
    path = spec.RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _filled(text: str, name: str, block: str) -> str:
    begin, end = f"<!-- {name} begins -->", f"<!-- {name} ends -->"
    if begin not in text:
        return text
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{block}\n{end}{rest.partition(end)[2]}"


def table(experiment: spec.Experiment) -> str:
    """A row per case: medians over seeds with lowest and highest, the paper's figure and the oracle beside ours.

    A column that no record has is left out; where cases are compared with the defaults, so is what is not compared.
    """
    measured = experiment.measured()
    columns = _columns(measured, experiment.figure)
    rows = {case.name: _beside_defaults(measured, case.name) for case in experiment.cases}
    cells = {name: [_cell(records, get, digits) for _, get, digits in columns] for name, records in rows.items()}
    known = [k for k in range(len(columns)) if any(row[k] != NOTHING for row in cells.values())]
    if "defaults" in rows:
        known = [k for k in known if columns[k][0] not in NOT_COMPARED]
    paper = ["the paper"] if experiment.paper else []
    head = ["case", "seeds", columns[0][0], *paper, *(columns[k][0] for k in known[1:])]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, records in rows.items():
        said = [_in_paper(experiment.paper.get(name, {}))] if paper else []
        found = [cells[name][k] for k in known] if records else ["not run"] + [""] * (len(known) - 1)
        lines.append("| " + " | ".join([name, str(len(records) or ""), *found[:1], *said, *found[1:]]) + " |")
    return "\n".join(lines) + "\n\n" + _provenance(experiment, measured)


def _columns(measured: dict[str, dict[str, Record]], figure: str) -> list[tuple[str, Callable[[Record], Any], int]]:
    """Heading, what stands under it, digits."""

    def correlation(record: Record) -> float:
        return float(_figure(record, figure)["correlation"])

    return [
        (f"{figure}: correlation", lambda r: _figure(r, figure)["correlation"], 3),
        ("against the defaults, seed by seed", lambda r: correlation(r) - correlation(r["defaults"]), 3),
        ("oracle", lambda r: _figure(r, figure)["oracle_correlation"], 3),
        ("ratio", lambda r: _figure(r, figure)["correlation_ratio"], 3),
        (f"mean error, {_unit(measured, figure)}", lambda r: _figure(r, figure)["mean_error"], 2),
        ("RMSD, Å", lambda r: r["deviation"], 2),
        ("superposed, Å", lambda r: r["aligned_deviation"], 2),
        ("unmoved, Å", lambda r: r["base_deviation"], 2),
        ("axis off by, °", _axis_error, 1),
        ("gain on held-out images, nats", lambda r: r["gains"]["held_out"], 2),
        ("on training images", lambda r: r["gains"]["training"], 2),
        ("segments", lambda r: r["partition"]["segments_used"], 0),
        ("worst border, residues", _worst_border, 0),
        ("training, s", lambda r: r["seconds"]["training"], 0),
        ("on", lambda r: r["machine"], 0),
    ]


def _beside_defaults(measured: dict[str, dict[str, Record]], case: str) -> list[Record]:
    """The records of a case, seed by seed; each with that of the defaults, on the same images, where there is one."""
    defaults = measured.get("defaults", {}) if case != "defaults" else {}
    seeds = sorted(measured.get(case, {}), key=int)
    return [measured[case][seed] | ({"defaults": defaults[seed]} if seed in defaults else {}) for seed in seeds]


def _cell(records: Sequence[Record], get: Callable[[Record], Any], digits: int) -> str:
    """Median and range of the records that have this; older ones may lack it."""
    values = []
    for record in records:
        with suppress(KeyError):
            values.append(get(record))
    if any(isinstance(value, str) for value in values):
        return ", ".join(sorted(set(map(_machine, values))))
    return _spread(values, digits)


def _machine(name: str) -> str:
    threads = name.partition("threads: ")[2]
    return {"": name, "1": "1 core"}.get(threads, f"{threads} cores")


def _figure(record: Record, name: str) -> Record:
    return next(a for a in record["agreements"] if a["name"] == name)


def _axis_error(record: Record) -> float | None:
    """The worst of the angles between domains that the simulation turned by more than 5 degrees."""
    moved = [a for a in record["agreements"] if a["unit"] == "°" and a["true_range"][1] - a["true_range"][0] > 5]
    return max((a["axis_error"] for a in moved), default=None)


def _unit(measured: dict[str, dict[str, Record]], figure: str) -> str:
    records = [record for seeds in measured.values() for record in seeds.values()]
    return str(_figure(records[0], figure)["unit"]) if records else "Å or °"


def _worst_border(record: Record) -> float:
    """Infinite where a true border has no border of bodies (segments that move as one are one) on its chain."""
    offsets = [b["nearest_body"] for b in record["partition"]["boundaries"]]
    return max((math.inf if offset is None else abs(offset) for offset in offsets), default=math.nan)


def _spread(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None and math.isfinite(value)]
    failed = f"; failed in {len(values) - len(known)} of {len(values)}" if len(known) < len(values) else ""
    if not known:
        return "failed" if values else NOTHING
    middle, low, high = (_plain(value, digits) for value in (statistics.median(known), min(known), max(known)))
    if len(known) == 1 or low == high:
        return f"{middle}{failed}"
    return f"{middle} ({low}{' to ' if MINUS in low else '–'}{high}){failed}"


def _plain(value: float, digits: int) -> str:
    """With a minus sign that is one, and none before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


def _in_paper(said: dict[str, Any]) -> str:
    parts = [str(said[key]) for key in ("correlation", "words", "time") if key in said]
    return "; ".join(parts) or NOTHING


def _provenance(experiment: spec.Experiment, measured: dict[str, dict[str, Record]]) -> str:
    records = [record for seeds in measured.values() for record in seeds.values()]
    command = f"`python experiments/run.py {experiment.name} --size {experiment.size} --data FOLDER`"
    if not records:
        return f"Not run yet: {command}."
    return _measured(records, command)


def _measured(records: Sequence[Record], command: str) -> str:
    parts = [
        ", ".join(sorted({str(record[key]) for record in records})) for key in ("date", "version", "torch", "machine")
    ]
    return "Measured {} with cryosphere {}, torch {}, {}, by {}.".format(*parts, command)


if __name__ == "__main__":
    write_all()
