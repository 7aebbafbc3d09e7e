"""What tests ask of a manager by `asked` of its loop, and what they get.

A row is int64[5]. Of an event, and after STEP, which serves one, of its object's block too:

    address, usable bytes, the block's start and bytes, and again its usable bytes

After EXTENTS the same of a live object, asked for by its address and size. All other rows are
(start, bytes).
"""

(
    SURVEY,  # events are served; a row each
    STEP,  # one event is served
    EXTENTS,  # blocks of live objects
    BROKEN,  # the number of the manager's invariant that is broken, 0 if none
    PARTS,  # the ledger is added up: see `decompose`
    COLLECT,  # of a collector: a full collection, between two events
    CACHED,  # so many rows: free blocks in caches
    METADATA,  # so many rows: the manager's own memory
    VACANT,  # so many rows: of a collector's heap what no object occupies
    FREED,  # a free of the address in the first row, whatever lies there
    TRIMMED,  # a trim that is to leave nothing: what the manager answers
) = range(11)
