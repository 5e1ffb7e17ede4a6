"""PDQ of a turned or mirrored picture from the 256 bits of the upright one, without the picture.

PDQ keeps the signs, against their median, of a 16 x 16 block of DCT coefficients. Mirroring a picture negates every
other column or row of the block, transposing it transposes the block. Where the median is near zero (it is for most
pictures), negating a coefficient flips its bit: on 117 clip-art pictures the derived hashes are 6 bits (median) and 15
to 30 bits (95th percentile) from those of the turned pictures. Good enough to find turned copies among stored hashes;
a query picture is at hand, so its orientations are computed from pixels instead (`heldout.pictures`).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

N_ORIENTATIONS: Final = 8

_SIDE = 16


def _permutations_and_flips() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    rows, columns = np.indices((_SIDE, _SIDE))
    upright = np.arange(_SIDE * _SIDE).reshape(_SIDE, _SIDE)
    orders, flips = [], []
    for transposed in (False, True):
        for odd_rows in (0, 1):
            for odd_columns in (0, 1):
                orders.append((upright.T if transposed else upright).reshape(-1))
                flips.append(((odd_rows * rows + odd_columns * columns) % 2).reshape(-1))
    return np.array(orders), np.array(flips, dtype=np.uint8)


_ORDERS, _FLIPS = _permutations_and_flips()


def orientations(hashes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(n, 32) uint8 upright hashes to (n, 8, 32) uint8, the upright one first.

    The 8 form a group and keep distances: d(turned a, b) = d(a, b turned back), so "copies" stays symmetric.
    """
    bits = np.unpackbits(hashes.reshape(-1, 32), axis=1)
    return np.packbits(bits[:, _ORDERS] ^ _FLIPS, axis=2)
