"""What the figures of CPython's twin mean, in sentences."""

from heapwright.managers.runtime.cpython.weak import sentences


def notes(heap):
    """As its heap is at the end."""
    collected, runs = int(heap.collected), int(heap.runs_count)
    told = sentences(heap.weak)
    if collected:
        told.append(
            f"Its {runs:,} collections found {collected:,} objects that only cycles kept; all "
            "others died with their last reference."
        )
    if heap.moments and heap.as_it_comes:
        told.append(
            "Collections begin by the twin's own counts, at the moments that the recording tells; "
            "what cycles keep is known from the recorded collection on."
        )
    elif heap.moments:
        told.append(
            "What cycles keep is known from the recorded collection on that took it: no setting "
            "finds it sooner, and the bytes under a higher threshold are at most."
        )
    if heap.missed:
        told.append(f"At {int(heap.missed):,} recorded collections it had no reason to collect.")
    if heap.waits and not (heap.moments and heap.as_it_comes):
        told.append(
            "Collections wait for the evaluation loop: here until the object that brought them is "
            "held; C code that does not return to the loop puts them off further."
        )
    if heap.incremental:
        told.append("The rules of the incremental collector are read from its source, not proven.")
    return told
