"""A graph trace in terms of objects, to compare with `naive/reachability.py`."""

import numpy as np

from heapwright.trace.schema import FREE, NEW, OPERATIONS


def objects_of(batches):
    """The events as (op, object, ...), and after each the objects that died of it."""
    columns = [np.concatenate([batch[c] for batch in batches]).tolist() for c in (0, 1, 2, 9, 10)]
    holder, calls, deaths, born, most = {}, [], [], 0, 0
    for op, slot, size, field, target in zip(*columns, strict=True):
        if op == FREE:
            deaths[-1].append(holder.pop(slot))
            continue
        if op == NEW:
            most = max(most, len(holder) + 1)
            assert slot not in holder and slot < most  # dense
            holder[slot] = born
            born += 1
        word, obj = OPERATIONS[op], holder.get(slot, -1)
        more = {"new": (obj, size, field), "push": ()}
        more["write"] = (obj, field, holder.get(target, -1))
        more["steer"], more["track"] = (size,), (obj, size)
        more["refer"] = (obj, size, holder.get(target, -1))
        calls.append((word, *more.get(word, (obj,))))
        deaths.append([])
    return calls, deaths
