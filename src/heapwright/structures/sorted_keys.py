"""A sorted set of int64 keys in runs of at most 128: the smallest key >= k in about 20 ns.

    rank     0          1          2                   runs in ascending order
    lowest   3          40         97                  smallest key of each
    run      3 5 9 ..   40 41 ..   97 99 ..            sorted, without gaps

Invariant  0 < fill <= RUN_KEYS; keys ascend within a run and from run to run;
           lowest is each run's first key                                    (check)
Source     a B+ tree of two levels (Bayer & McCreight 1972); a full run splits in halves
Omits      merging of thin runs: only an empty one is given back
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler.compiled import kernel, unsigned
from heapwright.compiler.reserve import reserve

RUN_KEYS = 128
RUN_SHIFT = 7  # log2 of RUN_KEYS

RUNS, ROWS_USED, SPARE_ROWS, FIELDS = range(4)


class SortedKeys(NamedTuple):
    """The set."""

    keys: np.ndarray  # int64[row * RUN_KEYS + index]
    fill: np.ndarray  # int64[row]  keys in the run
    row: np.ndarray  # int64[rank]  where each run lies
    lowest: np.ndarray  # int64[rank]  its smallest key
    spare: np.ndarray  # int64[SPARE_ROWS]  rows given back, a stack
    fields: np.ndarray  # int64[FIELDS]


def sorted_keys(most: int) -> SortedKeys:
    """An empty set with room for `most` keys."""
    rows = 2 * (most // RUN_KEYS) + 2
    return SortedKeys(
        reserve(rows * RUN_KEYS, np.int64),
        *(reserve(rows, np.int64) for _ in range(4)),
        np.zeros(FIELDS, np.int64),
    )


@kernel
def _rank_of(keys, key):
    """Rank of the run that holds `key` or would; at least one run exists."""
    low, high = 0, keys.fields[RUNS] - 1
    while low < high:
        middle = (low + high + 1) >> 1
        if keys.lowest[unsigned(middle)] <= key:
            low = middle
        else:
            high = middle - 1
    return low


@kernel
def _index_of(keys, row, key):
    """Keys of the run in `row` that are smaller than `key`."""
    first, low, high = row << RUN_SHIFT, 0, keys.fill[unsigned(row)]
    while low < high:
        middle = (low + high) >> 1
        if keys.keys[unsigned(first + middle)] < key:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _new_run(keys, rank):
    """Make room for a run at `rank`; its row."""
    fields = keys.fields
    if fields[SPARE_ROWS]:
        fields[SPARE_ROWS] -= 1
        row = keys.spare[fields[SPARE_ROWS]]
    else:
        row = fields[ROWS_USED]
        fields[ROWS_USED] += 1
    for i in range(fields[RUNS], rank, -1):
        keys.row[i] = keys.row[i - 1]
        keys.lowest[i] = keys.lowest[i - 1]
    fields[RUNS] += 1
    keys.row[rank] = row
    keys.fill[row] = 0
    return row


@kernel
def _split(keys, rank):
    """Move the upper half of the full run at `rank` to a new run after it."""
    old = keys.row[rank]
    new = _new_run(keys, rank + 1)
    half = RUN_KEYS >> 1
    for i in range(half):
        moved = keys.keys[unsigned((old << RUN_SHIFT) + half + i)]
        keys.keys[unsigned((new << RUN_SHIFT) + i)] = moved
    keys.fill[old] = keys.fill[new] = half
    keys.lowest[rank + 1] = keys.keys[new << RUN_SHIFT]


@kernel
def insert(keys, key):
    """Add `key`, which is not in the set."""
    if keys.fields[RUNS] == 0:
        _new_run(keys, 0)
    rank = _rank_of(keys, key)
    if keys.fill[keys.row[rank]] == RUN_KEYS:
        _split(keys, rank)
        if keys.lowest[rank + 1] <= key:
            rank += 1
    row = keys.row[rank]
    index = _index_of(keys, row, key)
    first = row << RUN_SHIFT
    for i in range(first + keys.fill[row], first + index, -1):
        keys.keys[unsigned(i)] = keys.keys[unsigned(i - 1)]
    keys.keys[first + index] = key
    keys.fill[row] += 1
    if index == 0:
        keys.lowest[rank] = key


@kernel
def remove(keys, key):
    """Take `key`, which is in the set, out of it."""
    rank = _rank_of(keys, key)
    row = keys.row[rank]
    index = _index_of(keys, row, key)
    first = row << RUN_SHIFT
    keys.fill[row] -= 1
    fill = keys.fill[row]
    for i in range(first + index, first + fill):
        keys.keys[unsigned(i)] = keys.keys[unsigned(i + 1)]
    if fill and index == 0:
        keys.lowest[rank] = keys.keys[first]
    if not fill:
        fields = keys.fields
        keys.spare[fields[SPARE_ROWS]] = row
        fields[SPARE_ROWS] += 1
        fields[RUNS] -= 1
        for i in range(rank, fields[RUNS]):
            keys.row[i] = keys.row[i + 1]
            keys.lowest[i] = keys.lowest[i + 1]


@kernel
def at_least(keys, key):
    """The smallest member >= key; -1 if none. Members are not negative."""
    if keys.fields[RUNS] == 0:
        return -1
    rank = _rank_of(keys, key)
    row = keys.row[unsigned(rank)]
    index = _index_of(keys, row, key)
    if index < keys.fill[unsigned(row)]:
        return keys.keys[unsigned((row << RUN_SHIFT) + index)]
    return keys.lowest[rank + 1] if rank + 1 < keys.fields[RUNS] else -1


@kernel
def size(keys):
    """Number of members."""
    members = 0
    for rank in range(keys.fields[RUNS]):
        members += keys.fill[keys.row[rank]]
    return members


@kernel
def check(keys):
    """0 if the invariant holds, else 1."""
    last = -1
    for rank in range(keys.fields[RUNS]):
        first, fill = keys.row[rank] << RUN_SHIFT, keys.fill[keys.row[rank]]
        if not 0 < fill <= RUN_KEYS or keys.lowest[rank] != keys.keys[first]:
            return 1
        for i in range(first, first + fill):
            if keys.keys[i] <= last:
                return 1
            last = keys.keys[i]
    return 0
