# Buffers are `object`: what speaks the buffer protocol has no name in Python 3.11, and C checks it.

INTERFACE: int
MAX_PREFIX_BYTES: int
MAX_PREFIX_SEGMENTS: int

def digest(
    offsets: object,
    wide: bool,
    data: object,
    validity: object,
    first: int,
    n: int,
    out: object,
    status: object,
    places: object,
    prefix: object,
    host: object,
    /,
) -> int: ...
def index_places(
    key: bytes,
    prefix_offsets: object,
    prefix_data: object,
    prefix_rank: object,
    host_offsets: object,
    host_data: object,
    host_rank: object,
    /,
) -> object: ...
def match(places: object, offsets: object, data: object, n: int, prefix: object, host: object, /) -> None: ...
def lookup(keys: object, starts: object, bits: int, queries: object, out: object, /) -> None: ...
def set_tracking(names: tuple[str, ...], prefixes: tuple[str, ...], /) -> None: ...
def use_instructions(level: int, /) -> int: ...
