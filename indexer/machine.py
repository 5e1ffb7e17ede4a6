"""What this machine has: cores we may use, memory that is free, and whether its processor multiplies in bfloat16.

Read from Linux's `/proc` and `/sys`, container limits included; elsewhere the answers are careful guesses.
"""

import os
from pathlib import Path
from typing import Final

_CPU_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""x86 and Arm (`bf16`) names of instructions that multiply bfloat16."""


def count_cores() -> int:
    """Cores this process may use, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdecimal() and period.strip().isdecimal():
        cores = min(cores, -(-int(quota) // int(period)))
    return max(1, cores)


def available_memory() -> int | None:
    """Bytes that may be taken without swapping; None where that cannot be told."""
    found = [
        int(line.split()[1]) * 1024 for line in _read("/proc/meminfo").splitlines() if line.startswith("MemAvailable:")
    ]
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if limit.isdecimal() and used.isdecimal():
        found.append(max(0, int(limit) - int(used)))
    return min(found, default=None)


def has_bfloat16() -> bool:
    """Whether the processor has instructions for it: without them it is emulated, slowly."""
    words = {
        word
        for line in _read("/proc/cpuinfo").splitlines()
        if line.lower().startswith(("flags", "features"))
        for word in line.split()
    }
    return not words.isdisjoint(_CPU_FLAGS)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
