"""Makes the allocator give large blocks back to the system as soon as they are freed: a body is one."""

import ctypes

M_MMAP_THRESHOLD = -3
"""glibc's malloc.h. Setting it also ends the habit of raising it with each large block that is freed, after which up to
32 MiB come from the heap, where one small block above keeps them."""
LARGE = 256 * 1024


def return_large_blocks() -> None:
    """Blocks of 256 KiB and more get pages of their own. Does nothing where the allocator is another one."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
