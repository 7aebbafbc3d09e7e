"""What lies under a kernel's own managers: physical memory, a descriptor for each frame.

    frames.py       the descriptors and the lists that they are linked into; zones
    buddy.py        free blocks of 2^order frames by migrate type, split, merged, stolen
    per_cpu.py      a processor's own lists before them
    page_alloc.py   watermarks and the way down: alloc_pages, free_pages
    zones.py        a machine's memory as zones with their marks
    geometry.py     how objects are laid out in slabs; kmalloc's sizes
    slub.py         caches of objects over the frames
    kmalloc.py      the front door: sizes and types to caches, larger ones to frames
    lru.py          a memory group's pages on active and inactive lists
    shrink.py       what reclaim does with a list's end
    reclaim.py      charging to a limit, faults, swap, and who is killed
    under_limit.py  a machine's pages as such a group
    areas.py        a process's address space: areas, split and joined
    calls.py        what the calls that shape it take
    page_table.py   what its pages show, huge ones too, and the tables' own memory
    huge.py         where a fault gives a huge page, and what becomes one
    process.py      the calls and faults of a process
    smaps.py        it, as /proc/PID/smaps and pmap tell it

The managers of `managers/linux/` are assembled from these, as the kernel is.
"""
