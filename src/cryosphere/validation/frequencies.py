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

    Images end at a disc of the size of the box, which mixes neighbouring frequencies: with the usual soft edge
    (`images.soft_edge` 0.1) noise one cycle per box away correlates by 0.24, and between frequencies of the two sets,
    which are √2 or more cycles apart, by 0.1 at most. A wider edge raises the latter, to 0.19 at 0.5 and 0.43 at 0.9.
    But that is of single frequencies. What images of a molecule are compared by is a sum over all frequencies of a set,
    in which these correlations nearly cancel: of two such sums at the two sets the noise correlates by 0.03 at an edge
    of 0.1, and by 0.06 at most at any other.
    """
    rows, columns = integer_frequencies(box)
    ring = (rows.square() + columns.square()).float().sqrt().round()
    place = (ring - FIRST_RING) % (2 * (WIDTH + GUARD))
    first = (place < WIDTH) & (ring >= FIRST_RING)
    second = (place >= WIDTH + GUARD) & (place < 2 * WIDTH + GUARD) & (ring >= FIRST_RING)
    return first.float(), second.float()
