"""Chunks with boundary tags, as Lea's malloc and ptmalloc lay them out.

    chunk ─► + 0  size of the chunk below, if that one is free (else its user's last 8 bytes)
             + 8  size | PREV_INUSE | IS_MMAPPED | NON_MAIN_ARENA
    user  ─► +16  fd  ┐ while free            ... user bytes while allocated, up to and with
             +24  bk  ┘                           the next chunk's first 8 bytes
             +32  fd_nextsize, +40 bk_nextsize: while free and large

Invariant  a free chunk's size stands in the word after it (foot), and the next chunk's
           PREV_INUSE is clear; no two free chunks touch outside fastbins and thread caches
Source     glibc 2.36 malloc/malloc.c, "Malloc_chunk details"; Lea 1996
Omits      memory tagging, safe-linking (links are plain), double-free keys
"""

from heapwright.compiler import kernel
from heapwright.machine import load, store, touch

HEADER_BYTES = 16  # CHUNK_HDR_SZ: user address minus chunk address
SIZE_WORD_BYTES = 8  # SIZE_SZ: what an allocated chunk costs beyond its user bytes
MIN_CHUNK_BYTES = 32  # MINSIZE
ALIGN_BYTES = 16  # MALLOC_ALIGNMENT
ALIGN_MASK = ALIGN_BYTES - 1

SIZE, FD, BK, FD_NEXTSIZE, BK_NEXTSIZE = 8, 16, 24, 32, 40  # offsets in a chunk, bytes

PREV_INUSE = 1
IS_MMAPPED = 2
NON_MAIN_ARENA = 4
FLAGS = 7

REQUEST_LIMIT = 1 << 62  # bytes; glibc refuses requests above PTRDIFF_MAX


@kernel(inline=True)
def chunk_bytes_for(request):
    """Bytes of the chunk that holds `request` bytes (request2size); 0 if absurd."""
    if request > REQUEST_LIMIT or request < 0:
        return 0
    padded = (request + SIZE_WORD_BYTES + ALIGN_MASK) & ~ALIGN_MASK
    return max(padded, MIN_CHUNK_BYTES)


@kernel(inline=True)
def head(machine, chunk):
    """Size and flags."""
    return load(machine, chunk + SIZE)


@kernel(inline=True)
def chunk_bytes(machine, chunk):
    """Size without flags."""
    return load(machine, chunk + SIZE) & ~FLAGS


@kernel(inline=True)
def set_head(machine, chunk, size_and_flags):
    """Write size and flags of a chunk whose page may be fresh."""
    touch(machine, chunk + SIZE, 8)
    store(machine, chunk + SIZE, size_and_flags)


@kernel(inline=True)
def set_head_bytes(machine, chunk, size):
    """Change the size and keep the flags (set_head_size)."""
    store(machine, chunk + SIZE, (load(machine, chunk + SIZE) & FLAGS) | size)


@kernel(inline=True)
def set_foot(machine, chunk, size):
    """Write the size of a free chunk after its end, for its upper neighbour."""
    touch(machine, chunk + size, 8)
    store(machine, chunk + size, size)


@kernel(inline=True)
def below_bytes(machine, chunk):
    """Size of the chunk below; meaningful only while that one is free."""
    return load(machine, chunk)


@kernel(inline=True)
def below_in_use(machine, chunk):
    """PREV_INUSE of `chunk`."""
    return load(machine, chunk + SIZE) & PREV_INUSE


@kernel(inline=True)
def mark_in_use(machine, chunk, size):
    """Tell the chunk at `chunk + size` that its lower neighbour is allocated."""
    above = chunk + size + SIZE
    touch(machine, above, 8)
    store(machine, above, load(machine, above) | PREV_INUSE)


@kernel(inline=True)
def mark_free(machine, chunk, size):
    """Tell the chunk at `chunk + size` that its lower neighbour is free."""
    above = chunk + size + SIZE
    store(machine, above, load(machine, above) & ~PREV_INUSE)


@kernel(inline=True)
def in_use(machine, chunk):
    """Whether `chunk` is allocated (or in a fastbin or a thread cache), as the one above says."""
    return load(machine, chunk + chunk_bytes(machine, chunk) + SIZE) & PREV_INUSE
