from typing_extensions import Buffer  # collections.abc has it from Python 3.12 on

def digest(
    offsets: Buffer,
    wide: bool,
    data: Buffer,
    validity: Buffer | None,
    first: int,
    n: int,
    out: Buffer,
    status: Buffer,
    /,
) -> int: ...
def lookup(keys: Buffer, starts: Buffer, bits: int, queries: Buffer, out: Buffer, /) -> None: ...
def set_tracking(names: tuple[str, ...], prefixes: tuple[str, ...], /) -> None: ...
def use_sha_extensions(wanted: bool, /) -> bool: ...
