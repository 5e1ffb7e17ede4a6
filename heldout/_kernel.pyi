# Buffers are `object`: what speaks the buffer protocol has no name in Python 3.11, and C checks it.

def digest(
    offsets: object,
    wide: bool,
    data: object,
    validity: object,
    first: int,
    n: int,
    out: object,
    status: object,
    /,
) -> int: ...
def lookup(keys: object, starts: object, bits: int, queries: object, out: object, /) -> None: ...
def set_tracking(names: tuple[str, ...], prefixes: tuple[str, ...], /) -> None: ...
def use_sha_extensions(wanted: bool, /) -> bool: ...
