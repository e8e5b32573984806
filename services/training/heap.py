"""Keeps freed memory in the process, for models on a CPU.

torch has no allocator of its own for the CPU. glibc hands every large block back to the kernel as soon as it is freed,
so a forward pass spends a quarter of its time on getting the same zeroed pages again.
"""

import ctypes
from contextlib import suppress
from typing import Final

# mallopt(3), malloc.h
_TRIM_THRESHOLD: Final = -1
_TOP_PAD: Final = -2
_MMAP_MAX: Final = -4
_ARENA_MAX: Final = -8

_STEP_BYTES: Final = 64 * 1024**2


def keep_freed_memory() -> None:
    """Tell glibc to take all memory from one heap that only grows; where the C library is another, nothing changes.

    To be called before threads start. The process keeps as much as it ever needed at once.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in (
            (_MMAP_MAX, 0),
            (_TRIM_THRESHOLD, -1),
            (_TOP_PAD, _STEP_BYTES),
            (_ARENA_MAX, 1),
        ):
            mallopt(parameter, value)
