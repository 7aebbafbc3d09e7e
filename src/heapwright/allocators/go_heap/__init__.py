"""The allocating half of Go's heap: pages, spans of one size class, caches.

size_classes   which sizes blocks have, computed
layout         every table and counter, and what their words mean
pages          which pages are free: a bitmap under a tree of summaries
span_sets      the spans of a class: partial or full, swept or not
page_heap      runs of pages become spans and are given back (mheap)
scavenge       free pages go back to the system
sweep          what was not marked is free: a span at a time, and how many when
heap_bitmap    which words of a small object are references
tiny           objects of less than 16 bytes share blocks
cache          per processor, a span of each class; where it gets them (mcache, mcentral)
invariants     what must hold between two events
"""
