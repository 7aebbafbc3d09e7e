"""The second half of a memory manager: what finds the dead. Parts, and no system's policy.

mutator   what the program holds: handles, frames, global roots
log       what a collector did: pauses, cycles, running totals
objects   the header and references of an object, as the textbook collectors lay it out
mark      tracing with an explicit stack and a queue of prefetched objects before it
tricolour  marking in steps, between which the program may change the graph
barriers   what the program does before it writes a reference meanwhile
object_bins  objects in blocks of bins, swept one at a time
"""
