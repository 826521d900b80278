"""Bounds on what the process keeps beside the caches: compiled kernels and the allocator's arenas."""

import ctypes
import os

KERNELS = 384
"""oneDNN keeps a compiled kernel for each shape, 1024 unless told, and calls have ever new numbers of rows. 128 do not
hold those of pocket calls of 2 to 16 rows: a call took 29 ms instead of 25, a lone one 15 instead of 10."""
ARENAS = 2
M_ARENA_MAX = -8
"""glibc's malloc.h."""


def bound_memory() -> None:
    """Keep resident memory level under calls of ever new shapes. Acts on what is not allocated yet: call it first.

    2,000 mixed requests took it from 730 to 764 MiB, with 512 kernels from 721 to 800.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # not where the allocator is another
        libc.mallopt(M_ARENA_MAX, ARENAS)
