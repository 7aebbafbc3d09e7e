"""The parts of ptmalloc, the allocator in glibc: chunks, bins, thread cache, arenas.

`managers/glibc.py` assembles them. All state lies in-band, in the words of the machine: an arena
is the address of a malloc_state, a chunk the address of a malloc_chunk, both laid out as glibc
2.36 lays them out on 64-bit Linux. 0 is NULL.
"""
