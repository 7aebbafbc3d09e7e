"""The second half of a memory manager: what finds the dead. Parts, and no system's policy.

mutator         what the program holds: handles, frames, global roots
log             what a collector did: pauses, cycles, running totals
pace            when to collect: a full heap, or a goal that follows what lives
objects         the header and references of an object, as the textbook collectors lay it out
textbook        what every manager over such objects does in the same way
mark            tracing with an explicit stack and a queue of prefetched objects before it
swept_heap      what managers of one swept space answer alike
bump_heap       objects end to end in one bump region, and what its managers have alike
swept_space     objects that never move, and the sweep that frees them, at once or lazily
copying         Cheney's walk from one space to the other
compacting      Lisp2: the marked slide down over the dead
references      soft, weak and phantom references and finalisers: what is cleared, in which order
counting        reference counts, and the cascade that one decrement brings
nursery         minor collections: survivors, ages, promotion
remembered      where old objects refer to young ones: a set of objects, or cards
old_generation  what the nursery is promoted to: swept, or slid
regions         a heap of equal regions, the emptiest of which are evacuated
tricolour       marking in steps, between which the program may change the graph
barriers        what the program does before it writes a reference meanwhile
object_bins     objects in blocks of bins, swept one at a time
"""
