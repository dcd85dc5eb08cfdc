"""Time of a training step on this machine, as a block of docs/results.md.

    python benchmarks/speed.py

The same measurement as `make bench` (`cryosphere bench`), at the sizes that published programs are timed at.
"""

from __future__ import annotations

from page import write_block

from cryosphere.training.bench import BenchSettings, bench, table

SIZES = (
    BenchSettings(),
    BenchSettings(box=64, residues=214, segments=10, batch_size=128, pixel_size=1.5),
)


def main() -> None:
    """Time each size and write the block."""
    tables = []
    for size in SIZES:
        tables.append(table(bench(size)))
        print(tables[-1], end="\n\n", flush=True)
    write_block("bench", "```\n" + "\n\n".join(tables) + "\n```", "python benchmarks/speed.py")


if __name__ == "__main__":
    main()
