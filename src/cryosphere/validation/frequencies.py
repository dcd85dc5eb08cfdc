"""Two disjoint sets of spatial frequencies whose noise has nothing in common.

Noise differs from frequency to frequency, independently; what a particle shows is the same at all of them. So a
conformation that is read off one set of frequencies and explains the other has been there, and one that fits the noise
of the first set is of no use for the second.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from cryosphere.fourier import integer_frequencies

WIDTH, GUARD = 2, 1  # rings of a set, and rings between the sets that belong to neither, in cycles per box
FIRST_RING = 1  # ring 0 is the mean grey value


def two_sets(box: int) -> tuple[Float[Tensor, "box half"], Float[Tensor, "box half"]]:
    """Masks of 1 and 0 on a half-spectrum: alternating rings, apart from each other by a ring that belongs to neither.

    Images end at a disc of the size of the box, which mixes neighbouring frequencies: noise one cycle per box away
    correlates by 2 J₁(π) / π = 0.18. Between frequencies of the two sets, which are √2 or more cycles apart, it is
    below 0.1, and such neighbours are few.
    """
    rows, columns = integer_frequencies(box)
    ring = (rows.square() + columns.square()).float().sqrt().round()
    place = (ring - FIRST_RING) % (2 * (WIDTH + GUARD))
    first = (place < WIDTH) & (ring >= FIRST_RING)
    second = (place >= WIDTH + GUARD) & (place < 2 * WIDTH + GUARD) & (ring >= FIRST_RING)
    return first.float(), second.float()
