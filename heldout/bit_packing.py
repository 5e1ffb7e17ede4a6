"""Whole numbers in blocks of 32, each block at the width of its largest: the compact form in a list's deltas.

    widths    one octet a block: bits per number, 0 to 64
    blocks    32 numbers each, the last one filled up with zeros, at the block's width; least significant bit first

So 32 numbers of width w take 4·w octets, and a block of zeros takes none. Normative: docs/formats/exclusion-list.md §4.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

BLOCK: Final = 32
_BITS: Final = 64


def pack(values: npt.NDArray[np.uint64]) -> bytes:
    """(n,) uint64 in the packed form."""
    n_blocks = -(-len(values) // BLOCK)
    blocks = np.zeros((n_blocks, BLOCK), "<u8")
    blocks.reshape(-1)[: len(values)] = values
    widths = _bit_lengths(blocks.max(axis=1, initial=0))
    starts = np.concatenate([[0], np.cumsum(4 * widths.astype(np.int64))])
    out = np.zeros(int(starts[-1]), np.uint8)
    for width in np.unique(widths[widths > 0]):
        chosen = np.flatnonzero(widths == width)
        bits = np.unpackbits(blocks[chosen].view(np.uint8).reshape(-1, BLOCK, 8), axis=2, bitorder="little")
        packed = np.packbits(bits[:, :, :width].reshape(len(chosen), -1), axis=1, bitorder="little")
        out[starts[chosen][:, None] + np.arange(4 * int(width))] = packed
    return widths.tobytes() + out.tobytes()


def unpack(data: bytes, n: int) -> tuple[npt.NDArray[np.uint64], int]:
    """The (n,) uint64 numbers at the front of `data`, and how many octets they take.

    Raises:
        ValueError: there are not as many, or a width is over 64.
    """
    n_blocks = -(-n // BLOCK)
    if n_blocks > len(data):
        raise ValueError(f"{n} numbers do not fit into {len(data)} octets")
    widths = np.frombuffer(data, np.uint8, n_blocks)
    starts = np.concatenate([[n_blocks], n_blocks + np.cumsum(4 * widths.astype(np.int64))]).astype(np.int64)
    if int(widths.max(initial=0)) > _BITS or starts[-1] > len(data):
        raise ValueError(f"{n} numbers do not fit into {len(data)} octets")
    octets = np.frombuffer(data, np.uint8)
    blocks = np.zeros((n_blocks, BLOCK, _BITS), np.uint8)
    for width in np.unique(widths[widths > 0]):
        chosen = np.flatnonzero(widths == width)
        packed = octets[starts[chosen][:, None] + np.arange(4 * int(width))]
        bits = np.unpackbits(packed, axis=1, bitorder="little")
        blocks[chosen, :, :width] = bits.reshape(len(chosen), BLOCK, int(width))
    values = np.packbits(blocks, axis=2, bitorder="little").reshape(-1).view("<u8")[:n]
    return values.astype(np.uint64), int(starts[-1])


def _bit_lengths(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Bits that each needs, 0 for 0."""
    lengths = np.zeros(len(values), np.uint8)
    for bit in range(_BITS):
        lengths[values >= np.uint64(1 << bit)] = bit + 1
    return lengths
