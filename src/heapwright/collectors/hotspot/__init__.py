"""What the twins of HotSpot's collectors share: parts of a Java heap, and no collector's policy.

layout     an object in memory: header, references of four bytes or eight; the program's table
sizing     how large the generations are, from the options of `java`
tlab       thread-local allocation buffers
ages       the age table, and the threshold that is made of it
averages   the padded average of what was promoted
cards      dirty cards of the old generation, and which object covers a card's first byte
tracing    marking from the table, and what every full collection does with a forwarded heap
history    what each collection left

generations  a heap of young and old: their bounds, births, the barrier, what is free
evacuating   what every young collection does: places followed, objects moved, promotion buffers
sliding      a full collection of such a heap, but for where each object goes
soundness    what must hold of such a heap between two events
"""
