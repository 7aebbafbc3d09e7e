"""Write barriers: what the program does before it writes a reference while objects are marked.

    object.field: old ──► new

               shades                   roots           born    invariant
    NONE       nothing                  the program must stand still
    DIJKSTRA   new                      AGAIN           white   strong; the stack stays grey
    STEELE     object, if it is black   AGAIN           white   strong; the stack stays grey
               and new is white
    YUASA      old                      SNAPSHOT        black   weak; the stack is black
    HYBRID     old; and new while the   ONCE            black   weak; the stack turns black when it
               stack is grey                                    is scanned

A write to a global goes through the barrier like one to an object; one to a local does not, since
locals are written far too often. So what a local comes to refer to must be found otherwise. Either
the stack stays **grey**, and is scanned AGAIN at the end while the program stands still. Or it is
**black** and whatever it can load is sure to be reached: because all that could be reached at the
SNAPSHOT is (Yuasa), or because of each reference that is cut the target is shaded (Go), and what
another, still grey stack hands over is shaded too. What is born goes to a local first: under a
black stack nobody would find it white.

Source     Dijkstra et al., CACM 1978; Steele, "Multiprocessing compactifying garbage collection",
           CACM 1975; Yuasa, "Real-time garbage collection on general-purpose machines", Journal of
           Systems and Software 1990; Pirinen, ISMM 1998, for which roots go with which; Clements
           and Hudson, "Eliminate STW stack re-scanning", Go proposal 17503, 2016, for HYBRID
Omits      barriers on reading (Baker 1978). Go 1.27 shades `new` whatever the stack's colour
           (runtime/mbarrier.go), which is safe too

Which pairs of barrier and roots keep every object, and which lose one, is found by running all
schedules: docs/tri-colour.md.
"""

from heapwright.collectors.log import BARRIERS
from heapwright.collectors.mutator import GLOBALS, handle
from heapwright.collectors.objects import refer, reference
from heapwright.collectors.tricolour import (
    AGAIN,
    BLACK,
    MARKING,
    ONCE,
    SNAPSHOT,
    WHITE,
    is_grey,
    is_white,
    shade,
    turn_grey,
)
from heapwright.compiler import kernel, unlikely, unsigned

NAMES = ("none", "dijkstra", "steele", "yuasa", "hybrid")
NONE, DIJKSTRA, STEELE, YUASA, HYBRID = range(5)
ROOTS_OF = (SNAPSHOT, AGAIN, AGAIN, SNAPSHOT, ONCE)  # by barrier
BIRTH_OF = (BLACK, WHITE, WHITE, BLACK, BLACK)
A_GLOBAL = 0, 0  # place of a write to a global
STRONG = (False, True, True, False, False)  # whether it keeps the strong invariant


@kernel
def write(marking, slot, field, target):
    """Let reference `field` of the object in `slot` refer to the one in `target`, -1 none."""
    source = marking.mutator.handles[unsigned(slot)]
    new = handle(marking.mutator, target)
    if unlikely(marking.phase == MARKING):
        _barrier(marking, (source, field), reference(marking.machine, source, field), new)
    refer(marking.machine, source, field, new)


@kernel
def rooted(marking, slot):
    """One root more refers to the object in `slot`: a global if there is one more of them."""
    globals_ = marking.mutator.counts[GLOBALS]
    if globals_ != marking.globals_seen:
        marking.globals_seen = globals_
        if marking.phase == MARKING:
            _barrier(marking, A_GLOBAL, 0, handle(marking.mutator, slot))


@kernel
def unrooted(marking, slot):
    """One root less refers to the object in `slot`: a global if there is one less of them. Then the
    last one took its place, which may have been scanned: such as are left only move down."""
    globals_ = marking.mutator.counts[GLOBALS]
    if globals_ != marking.globals_seen:
        marking.globals_seen = globals_
        if marking.phase == MARKING:
            marking.globals_left = min(marking.globals_left, globals_)
            _barrier(marking, A_GLOBAL, handle(marking.mutator, slot), 0)


@kernel
def _barrier(marking, place, old, new):
    """Reference `place` = (object, field), or A_GLOBAL, changes from address `old` to `new`."""
    kind = marking.barrier
    marking.log.totals[BARRIERS] += 1
    if kind in (YUASA, HYBRID):
        shade(marking, old)
    if kind == DIJKSTRA or (kind == HYBRID and not marking.stack_black):
        shade(marking, new)
    if kind == STEELE and new and is_white(marking, new):
        _turn_back(marking, place)


@kernel
def _turn_back(marking, place):
    """Look at a reference again that was looked at before."""
    address, field = place
    if not address:
        marking.globals_left = marking.mutator.counts[GLOBALS]
    elif address == marking.scanned:
        marking.field = min(marking.field, field)
    elif not is_white(marking, address) and not is_grey(marking, address):
        turn_grey(marking, address)
