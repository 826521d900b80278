"""Bounds on what the process keeps beside the caches: compiled kernels, the allocator's arenas, rows in flight."""

import ctypes
import os
from pathlib import Path

import torch

KERNELS = 256
"""oneDNN keeps a compiled kernel for each shape, 1024 unless told, and calls have ever new numbers of rows. 128 do not
hold those of pocket calls of 2 to 16 rows, which are then compiled again and again."""
PREPARED = 32
"""Torch's part for oneDNN (ideep) holds on to kernels of linear layers once more, 1024 unless told; with few of them it
asks oneDNN again, which takes microseconds."""
ARENAS = 2
M_ARENA_MAX = -8
"""glibc's malloc.h."""
SHARE_OF_FREE = 1 / 4
"""Of what an accelerator has free when the model is loaded; calls and pictures on their way need the rest."""
SHARE_OF_ALL = 1 / 16
"""Of a machine's memory, which is not ours alone."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def bound_memory() -> None:
    """Keep resident memory level under calls of ever new shapes. Acts on what is not allocated yet: call it first.

    2,000 mixed requests took it from 674 to 676 MiB, in another run from 678 to 695.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(PREPARED))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # not where the allocator is another
        libc.mallopt(M_ARENA_MAX, ARENAS)


def share_for_rows(device: torch.device) -> int:
    """Bytes that rows in flight may hold between calls on this device, where nobody has said it. Ask with the model
    loaded."""
    if device.type == "cuda":
        return int(SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0])
    return int(SHARE_OF_ALL * _machine_bytes())


def _machine_bytes() -> int:
    """The machine's memory, or the container's where that is limited."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else ""
    return min(machine, int(limit)) if limit.isdecimal() else machine
