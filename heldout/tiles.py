"""Reading a C2SP tiled log: subtree hashes out of tiles, entries out of bundles, proofs between any two sizes.

Pure over a `read` callable (path -> bytes, NotFoundError if there is none): a folder, a mirror's URL, a dict. What is
read is not trusted: proofs are checked by `heldout.merkle` against a signed checkpoint.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from heldout.errors import InputError, NotFoundError, VerificationError
from heldout.layout import TILE_HEIGHT, TILE_WIDTH, Tile, tile_width
from heldout.merkle import EMPTY_ROOT, HASH_SIZE, consistency_path, inclusion_path, node_hash, root_of, split_point

MAX_ENTRY_SIZE = 65_535
"""Bytes; an entry's length is written as uint16."""

ReadPath = Callable[[str], bytes]


class TileReader:
    """The tree of one size, read through its tiles. Keeps the tiles it has read."""

    def __init__(self, read: ReadPath, size: int) -> None:
        self._read = read
        self._size = size
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        return self._size

    def root(self) -> bytes:
        """Root of the whole tree."""
        return self.subtree(0, self._size) if self._size else EMPTY_ROOT

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Inclusion proof of a leaf in this tree. Raises InputError if there is no such leaf."""
        return inclusion_path(index, self._size, self.subtree)

    def consistency_proof(self, old_size: int) -> list[bytes]:
        """Consistency proof from an older size of this tree. Raises InputError if it is larger."""
        return consistency_path(old_size, self._size, self.subtree)

    def leaf_hash(self, index: int) -> bytes:
        """Leaf hash at this index."""
        return self.tile(0, index // TILE_WIDTH)[index % TILE_WIDTH]

    def subtree(self, start: int, end: int) -> bytes:
        """Hash of the leaves [start, end): a range at which RFC 6962's recursion arrives."""
        n = end - start
        if n & (n - 1) or start % n:
            middle = start + split_point(n)
            return node_hash(self.subtree(start, middle), self.subtree(middle, end))
        height = n.bit_length() - 1
        level, rest = divmod(height, TILE_HEIGHT)
        first = start >> (TILE_HEIGHT * level)
        hashes = self.tile(level, first // TILE_WIDTH)
        offset = first % TILE_WIDTH
        return root_of(hashes[offset : offset + (1 << rest)])

    def tile(self, level: int, index: int) -> list[bytes]:
        """Hashes of one tile, as wide as this tree has it.

        Raises:
            VerificationError: the tile read does not have that width.
        """
        if (level, index) not in self._tiles:
            tile = Tile(level, index, tile_width(level, index, self._size))
            data = self.tile_bytes(tile)
            if len(data) != tile.width * HASH_SIZE:
                raise VerificationError(
                    f"{tile.path} has {len(data)} bytes instead of {tile.width * HASH_SIZE}: the log's copy is damaged"
                )
            self._tiles[level, index] = [data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)]
        return self._tiles[level, index]

    def tile_bytes(self, tile: Tile) -> bytes:
        """A tile of hashes as it is served, unchecked and not kept; of a partial one that is gone, the full one's."""
        return self._read_tile(tile, lambda full: full[: tile.width * HASH_SIZE])

    def entries(self, index: int) -> list[bytes]:
        """Entries of one bundle, as wide as this tree has it. Raises VerificationError if it is malformed."""
        bundle = Tile(None, index, tile_width(0, index, self._size))
        entries = parse_bundle(self._read_tile(bundle, lambda full: format_bundle(parse_bundle(full)[: bundle.width])))
        if len(entries) != bundle.width:
            raise VerificationError(
                f"{bundle.path} has {len(entries)} entries instead of {bundle.width}: the log's copy is damaged"
            )
        return entries

    def _read_tile(self, tile: Tile, narrow: Callable[[bytes], bytes]) -> bytes:
        """A log may drop a partial tile once the full one is there; that one is then cut to width."""
        try:
            return self._read(tile.path)
        except NotFoundError:
            if tile.width == TILE_WIDTH:
                raise
            return narrow(self._read(replace(tile, width=TILE_WIDTH).path))

    def iter_entries(self) -> Iterator[bytes]:
        """Every entry in order. Unchecked: compare the root of their leaf hashes with a checkpoint."""
        for index in range(-(-self._size // TILE_WIDTH)):
            yield from self.entries(index)


class TreeGrower:
    """A tree that grows leaf by leaf, of which only the right edge is kept: some 64 kB however large it is."""

    def __init__(self, edge: Sequence[Sequence[bytes]] = ()) -> None:
        """Start from the hashes of the partial tile of each level, lowest first."""
        self._edge = [list(hashes) for hashes in edge] or [[]]
        self._size = sum(len(hashes) << (TILE_HEIGHT * level) for level, hashes in enumerate(self._edge))

    @classmethod
    def at(cls, reader: TileReader, size: int) -> "TreeGrower":
        """The tree of `size` leaves out of the tiles of one at least as large.

        Nothing is checked: compare `root` with one that is trusted.
        """
        edge: list[list[bytes]] = []
        while size >> (TILE_HEIGHT * len(edge)):
            level = len(edge)
            index, width = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
            edge.append(reader.tile(level, index)[:width] if width else [])
        return cls(edge)

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._size

    @property
    def leaves(self) -> list[bytes]:
        """Leaf hashes after the last full tile."""
        return self._edge[0]

    def add(self, hashed: bytes) -> list[tuple[Tile, bytes]]:
        """Add a leaf hash; the tiles that became full by it, lowest first, with their content."""
        self._edge[0].append(hashed)
        self._size += 1
        full: list[tuple[Tile, bytes]] = []
        level = 0
        while len(self._edge[level]) == TILE_WIDTH:
            hashes, self._edge[level] = self._edge[level], []
            full.append((Tile(level, (self._size >> (TILE_HEIGHT * (level + 1))) - 1), b"".join(hashes)))
            level += 1
            if level == len(self._edge):
                self._edge.append([])
            self._edge[level].append(root_of(hashes))
        return full

    def partial(self) -> list[tuple[Tile, bytes]]:
        """The partial tiles at this size, lowest level first, with their content."""
        return [
            (Tile(level, self._size >> (TILE_HEIGHT * (level + 1)), len(hashes)), b"".join(hashes))
            for level, hashes in enumerate(self._edge)
            if hashes
        ]

    def root(self) -> bytes:
        """Root of the whole tree."""
        subtrees: list[bytes] = []  # complete ones, largest first
        for hashes in reversed(self._edge):
            start = 0
            for height in reversed(range(TILE_HEIGHT)):
                if len(hashes) & (1 << height):
                    subtrees.append(root_of(hashes[start : start + (1 << height)]))
                    start += 1 << height
        if not subtrees:
            return EMPTY_ROOT
        root = subtrees.pop()
        while subtrees:
            root = node_hash(subtrees.pop(), root)
        return root


def format_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries, each after its length as big-endian uint16.

    Raises:
        InputError: an entry is longer than 65,535 bytes.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_SIZE:
            raise InputError(f"a log entry of {len(entry)} bytes is over {MAX_ENTRY_SIZE}: split it")
        parts += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(parts)


def parse_bundle(data: bytes) -> list[bytes]:
    """Inverse of `format_bundle`.

    Raises:
        VerificationError: the data ends inside an entry.
    """
    entries: list[bytes] = []
    position = 0
    while position < len(data):
        end = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if len(data) < position + 2 or len(data) < end:
            raise VerificationError(
                f"an entry bundle of {len(data)} bytes ends inside entry {len(entries)}: fetch it again"
            )
        entries.append(data[position + 2 : end])
        position = end
    return entries
