"""What the program holds: a handle for each object it knows, and the roots among them.

    handles  ┌─────┬─────┬─────┬─────┐     slot ─► address, 0 when dead
             └──▲──┴──▲──┴─────┴──▲──┘
    locals   ───┘     │           │         slots, a stack cut into frames
    globals  ─────────┴───────────┘         slots, in any order

A collector reads the roots (`root_count`, `root_at`) and, when it moves an object or reclaims it,
says so with `moved` and `reclaimed`. A handle is changed only while it still holds that object's
address: a slot may have been given to a new object long before the old one is found dead.

Invariant  counts[LOCALS] = end of the frame on top; position[globals[i]] == i          (check)
Omits      stacks of several threads

A malloc trace has no references. Each live object is a root: the setting EVERY_HANDLE.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned

# Mutator.counts
(
    LOCALS,  # slots on the stack of locals
    FRAMES,  # frames entered and not left, without frame 0
    GLOBALS,  # global roots
    SLOTS,  # handles; constant
    EVERY_HANDLE,  # setting: 1 when each live object is a root
    REFERENCES,  # reference objects and finalisable ones that the program will make; constant
    COUNTS,
) = range(7)


class Mutator(NamedTuple):
    """The program's side of the heap."""

    handles: np.ndarray  # int64[slot], address of the object; 0 dead, refused or reclaimed
    locals: np.ndarray  # int64[local], slot
    frames: np.ndarray  # int64[frame], locals below the frame
    globals: np.ndarray  # int64[root], slot
    position: np.ndarray  # int64[slot], index in `globals`; -1 when no global refers to it
    counts: np.ndarray  # int64[COUNTS]


def mutator(
    slots: int, roots: int = 0, *, every_handle: bool = False, references: int = 0
) -> Mutator:
    """A program that knows no object yet; at most `roots` locals, frames and globals each."""
    counts = np.zeros(COUNTS, np.int64)
    counts[SLOTS], counts[EVERY_HANDLE] = slots, every_handle
    counts[REFERENCES] = references
    return Mutator(
        handles=np.zeros(slots, np.int64),
        locals=np.zeros(roots, np.int64),
        frames=np.zeros(roots, np.int64),
        globals=np.zeros(roots, np.int64),
        position=np.full(0 if every_handle else slots, -1, np.int64),
        counts=counts,
    )


@kernel(inline=True)
def handle(mutator, slot):
    """Address of the object in `slot`, 0 if none; `slot` may be -1."""
    return mutator.handles[unsigned(slot)] if slot >= 0 else 0


@kernel
def root_count(mutator):
    """How many roots there are, some perhaps empty and some twice."""
    if mutator.counts[EVERY_HANDLE]:
        return mutator.counts[SLOTS]
    return mutator.counts[LOCALS] + mutator.counts[GLOBALS]


@kernel(inline=True)
def root_at(mutator, index):
    """Address of the object that root `index` refers to; 0 if none. Locals come first."""
    if mutator.counts[EVERY_HANDLE]:
        return mutator.handles[unsigned(index)]
    locals_ = mutator.counts[LOCALS]
    if index < locals_:
        return mutator.handles[unsigned(mutator.locals[unsigned(index)])]
    return mutator.handles[unsigned(mutator.globals[unsigned(index - locals_)])]


@kernel(inline=True)
def moved(mutator, slot, old, new):
    """The object of `slot` lies at `new` now."""
    if mutator.handles[unsigned(slot)] == old:
        mutator.handles[unsigned(slot)] = new


@kernel(inline=True)
def reclaimed(mutator, slot, address):
    """The object of `slot`, at `address`, is gone."""
    if mutator.handles[unsigned(slot)] == address:
        mutator.handles[unsigned(slot)] = 0


@kernel(inline=True)
def hold(mutator, slot):
    """The frame on top holds one more object."""
    count = mutator.counts[LOCALS]
    mutator.locals[unsigned(count)] = slot
    mutator.counts[LOCALS] = count + 1


@kernel(inline=True)
def push(mutator):
    """Enter a frame."""
    mutator.frames[unsigned(mutator.counts[FRAMES])] = mutator.counts[LOCALS]
    mutator.counts[FRAMES] += 1


@kernel(inline=True)
def pop(mutator):
    """Leave the frame on top, which is not frame 0; its locals are roots no longer."""
    mutator.counts[FRAMES] -= 1
    mutator.counts[LOCALS] = mutator.frames[unsigned(mutator.counts[FRAMES])]


@kernel(inline=True)
def root(mutator, slot):
    """A global refers to the object, which none did."""
    count = mutator.counts[GLOBALS]
    mutator.globals[unsigned(count)] = slot
    mutator.position[unsigned(slot)] = count
    mutator.counts[GLOBALS] = count + 1


@kernel(inline=True)
def unroot(mutator, slot):
    """The global that refers to the object does no longer; the last one takes its place."""
    last = mutator.counts[GLOBALS] - 1
    hole, other = mutator.position[unsigned(slot)], mutator.globals[unsigned(last)]
    mutator.globals[unsigned(hole)] = other
    mutator.position[unsigned(other)] = hole
    mutator.position[unsigned(slot)] = -1
    mutator.counts[GLOBALS] = last


@kernel
def check(mutator):
    """0 if the invariant holds; 1 a global is misplaced, 2 frames overlap."""
    counts = mutator.counts
    for i in range(counts[GLOBALS]):
        if mutator.position[unsigned(mutator.globals[unsigned(i)])] != i:
            return 1
    below = 0
    for i in range(counts[FRAMES]):
        if not below <= mutator.frames[unsigned(i)] <= counts[LOCALS]:
            return 2
        below = mutator.frames[unsigned(i)]
    return 0
