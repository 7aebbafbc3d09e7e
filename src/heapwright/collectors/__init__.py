"""The second half of a memory manager: what finds the dead. Parts, and no system's policy.

mutator   what the program holds: handles, frames, global roots
log       what a collector did: pauses, cycles, running totals
"""
