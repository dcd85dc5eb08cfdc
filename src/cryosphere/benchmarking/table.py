"""The measurement as text."""

from __future__ import annotations

from cryosphere.benchmarking.bench import Bench, Speed
from cryosphere.benchmarking.floor import Floor
from cryosphere.benchmarking.stages import STAGES


def table(result: Bench) -> str:
    """What was timed, where a step's time goes, and what it could be at best."""
    s, spread, reference, floor = result.settings, result.spread, result.reference, result.floor
    detail = f", compared as {result.compared_box}²" if result.compared_box < s.box else ""
    lines = [
        f"cryosphere {result.version}, torch {result.torch}",
        f"{result.device} ({result.machine}, {result.threads} threads)",
        f"{s.batch_size} images of {s.box}² at {s.pixel_size:g} Å{detail}; "
        f"{s.residues} residues, {s.segments} segments",
        "",
        f"{'ms':20}{'spread':>12}{'literal':>12}{'floor':>12}",
    ]
    lines += [
        f"{'load *' if stage == 'load' else stage:20}{_shown(spread.stages_ms[stage])}"
        f"{_shown(reference.stages_ms[stage] if reference else None)}"
        f"{_shown(1e3 * floor.work[stage].seconds(floor.machine))}"
        for stage in STAGES
    ]
    lines += [
        f"{'whole step':20}{_shown(spread.step_ms)}{_shown(reference.step_ms if reference else None)}"
        f"{_shown(floor.floor_ms)}",
        f"{'images per step':20}{spread.images:12}{reference.images if reference else '-':>12}",
        f"{'images per second':20}{_rate(spread)}{_rate(reference)}{1e3 * spread.images / floor.floor_ms:12,.0f}",
        f"{'peak memory, GB':20}{_memory(spread)}{_memory(reference)}",
        "",
    ]
    return "\n".join([*lines, *_remarks(result)])


def _remarks(result: Bench) -> list[str]:
    spread, reference = result.spread, result.reference
    lines, literal_steps = [], ""
    if reference is not None and result.step_speedup is not None:
        fewer = ""
        if reference.images < spread.images:
            fewer = f" (timed on {reference.images} of {spread.images} images, for its memory)"
        lines.append(f"{result.step_speedup:.3g} times the paper's arithmetic as written, in images per second{fewer}")
        literal_steps = f", {reference.steps} of the literal kind"
    medians = f"medians of {spread.steps} steps{literal_steps}"
    return [*lines, *_on_floor(result.floor), *result.doubts, f"* read beside the other stages; {medians}"]


def _on_floor(floor: Floor) -> list[str]:
    moved, computed = floor.machine.bytes_per_second / 1e9, floor.machine.operations_per_second / 1e9
    return [
        f"{floor.step_over_floor:.3g} times the floor, the larger of",
        f"  {floor.bytes / 1e6:,.0f} MB that must move, at {moved:,.1f} GB/s as measured: {floor.bytes_ms:.3g} ms",
        f"  {floor.operations / 1e9:,.3g} billion operations, at {computed:,.0f} billion/s as measured: "
        f"{floor.operations_ms:.3g} ms",
    ]


def _shown(value: float | None) -> str:
    return f"{'-':>12}" if value is None else f"{value:12.2f}"


def _rate(speed: Speed | None) -> str:
    return f"{'-':>12}" if speed is None else f"{speed.images_per_second:12,.0f}"


def _memory(speed: Speed | None) -> str:
    peak = None if speed is None else speed.peak_memory_bytes
    return f"{'-':>12}" if peak is None else f"{peak / 1e9:12.2f}"
